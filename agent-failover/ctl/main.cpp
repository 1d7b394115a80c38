#include "agent-failover/ctl/program.hpp"

int main(int argc, char** argv) {
  return understudy::ctl::run(argc, argv);
}
