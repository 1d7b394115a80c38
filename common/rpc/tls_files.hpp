#pragma once

#include <string>

namespace understudy::rpc {

// PEM files of one side of a mutually authenticated channel. They are watched: a renewed certificate is used
// without a restart. Replace a pair by renaming, key and certificate within the same ten seconds.
struct tls_files {
  std::string certificate;  // own certificate chain
  std::string key;          // its private key
  std::string ca;           // the CA that signed the peers' certificates

  bool configured() const { return !certificate.empty(); }
};

}  // namespace understudy::rpc
