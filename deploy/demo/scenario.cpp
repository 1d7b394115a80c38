#include "deploy/demo/scenario.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <stdexcept>
#include <thread>

#include "tests/support/system/time_text.hpp"
#include "tests/support/wait.hpp"

namespace understudy::demo {
namespace {

namespace fs = std::filesystem;
using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::wall_clock;

constexpr milliseconds client_pause{25};  // 40 commits a second, if the server keeps up
constexpr milliseconds writer_pause{100};
constexpr seconds act_length{3};  // how long the client works undisturbed between two events
constexpr seconds patience{30};   // everything here takes a few seconds at most
constexpr milliseconds promised_gap{100};
constexpr milliseconds file_settles{500};  // a file written this long before a power cut has arrived

test::system_options site_options() {
  return {.primaries = {"primary"}, .application = fossil_application(), .boot_wait = "10s"};
}

[[noreturn]] void give_up(const std::string& why) {
  throw std::runtime_error(why);
}

words as_set(const std::vector<std::string>& list) {
  return {list.begin(), list.end()};
}

words without(const words& all, const words& taken) {
  words left;
  std::set_difference(all.begin(), all.end(), taken.begin(), taken.end(), std::inserter(left, left.end()));
  return left;
}

std::string text_of(wall_clock::duration length) {
  return test::duration_text(duration_cast<milliseconds>(length));
}

std::string some_of(const words& ids) {
  std::string text;
  int shown = 0;
  for (const auto& id : ids) {
    if (++shown > 3) return text + ", ...";
    text += (text.empty() ? "" : ", ") + id;
  }
  return text;
}

}  // namespace

class scenario::writer {
 public:
  explicit writer(std::function<fs::path()> where) : where_(std::move(where)), thread_([this] { run(); }) {}
  ~writer() { stop(); }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // Goes on in another directory; nothing: pauses.
  void follow(std::function<fs::path()> where) {
    const std::lock_guard lock(mutex_);
    where_ = std::move(where);
  }
  // Names and when they were complete.
  std::vector<std::pair<std::string, wall_clock::time_point>> written() const {
    const std::lock_guard lock(mutex_);
    return written_;
  }

 private:
  void run() {
    for (int number = 1; !stopping_; std::this_thread::sleep_for(writer_pause)) {
      const std::lock_guard lock(mutex_);
      if (!where_) continue;
      const std::string name = fmt::format("document-{:06}.txt", number++);
      const fs::path directory = where_();
      if (!fs::is_directory(directory)) continue;
      std::ofstream(directory / (name + ".part")) << name << "\n";
      fs::rename(directory / (name + ".part"), directory / name);
      written_.emplace_back(name, wall_clock::now());
    }
  }

  std::function<fs::path()> where_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<std::pair<std::string, wall_clock::time_point>> written_;
  std::thread thread_;
};

scenario::scenario(report& out) : out_(out), site_(site_options()), pages_(site_.service_address()) {}

scenario::~scenario() = default;

void scenario::begin(std::string_view title) {
  out_.title(title);
  out_.note(fmt::format(
      "primary   {}  fossil serves /srv/fossil/project.fossil (SQLite, WAL), documents beside it\n"
      "failover  10.78.0.9   understudyd\n"
      "client    10.78.0.30  creates wiki pages over HTTP at the service address {}, about 40 a second\n"
      "Failure is declared after 5 missed pings 200 ms apart (the default is 15, 2 s apart).",
      site_.control_address(), site_.service_address()));
  out_.begin_timeline();
  make_repository(site_.primary());
  site_.start_host();
  site_.start_agent();
  site_.protect();
  out_.line("server added, first copy made, in step");
  bool logged_in = false;
  site_.client().call([&] { logged_in = test::wait_until([&] { return pages_.log_in(); }, patience); });
  if (!logged_in) give_up("fossil does not answer at the service address");
  client_ = std::make_unique<test::commit_client>(
      site_.client(), "page-", [this](const std::string& id) { return pages_.create_page(id); },
      client_pause);
  writer_ = std::make_unique<writer>([this] { return site_.on_primary(site_.options().application.files); });
  if (!client_->wait_confirmed(20, wall_clock::now(), patience)) give_up("the client gets no confirmation");
  out_.line("the client commits, documents are written");
  std::this_thread::sleep_for(act_length);
}

void scenario::power_loss() {
  begin("A primary loses power");
  writer_->follow({});
  const auto cut_at = wall_clock::now();
  site_.power_off();
  out_.line(cut_at, "POWER LOSS of the primary");

  if (!client_->wait_confirmed(1, cut_at + milliseconds{1}, patience)) give_up("nobody took over");
  if (!site_.wait_phase("StandingIn", patience)) give_up("the takeover does not end");
  const test::outage gone = client_->longest_outage(cut_at - seconds{1}, wall_clock::now());
  const auto takeover = site_.event("takeover");
  if (!takeover) give_up("there is no takeover event");
  const auto durable = test::time_after(takeover->text(), "seen at");
  if (!durable) give_up("the takeover event does not name the last durable commit: " + takeover->text());
  const auto failure = site_.event("failure");
  const auto declared = failure ? test::time_of(failure->at()) : cut_at;
  out_.line(declared, "the failover host declares the primary failed");
  out_.line(gone.first_after, "the client's first confirmation, at the same address");
  writer_->follow([this] { return site_.copy_of(site_.options().application.files); });
  std::this_thread::sleep_for(act_length);

  site_.power_on();
  out_.line("the primary has power again; its agent runs");
  const bool told = site_.wait_state(
      [](const v1::ServerState& now) {
        return now.agent_connected() && now.primary_applications_size() == 1;
      },
      patience);
  const auto state = site_.state();
  const bool kept_down = told && state &&
                         state->primary_applications(0).state() == v1::APPLICATION_STATE_STOPPED &&
                         !site_.owns_address(site_.primary(), site_.service_address());
  if (state && state->primary_applications_size() == 1)
    out_.line(fmt::format("fossil on the primary: {}", state->primary_applications(0).last_event()));
  std::this_thread::sleep_for(act_length / 2);

  const test::outage back = fail_back("--discard-primary");
  std::this_thread::sleep_for(act_length / 2);
  end_work();

  const words final_pages = as_set(pages_of(site_.on_primary(site_.options().application.database)));
  const words confirmed = as_set(client_->confirmed());
  const words before_durable = as_set(client_->confirmed(*durable));
  const words missing = without(confirmed, final_pages);
  words unconfirmed;  // sent to the primary, and cut off before an answer
  for (const auto& one : client_->attempts())
    if (!one.confirmed && one.begun <= cut_at) unconfirmed.insert(one.id);
  const words aside = set_aside_pages();
  const words only_aside = without(aside, final_pages);

  out_.title("Durations");
  out_.figure("last durable commit at takeover, before the power loss", text_of(cut_at - *durable));
  out_.figure("power loss -> declared failed (5 pings, 200 ms apart)", text_of(declared - cut_at));
  out_.figure("declared failed -> first answer to the client", text_of(gone.first_after - declared));
  out_.figure("downtime the client saw: takeover", test::duration_text(gone.length()));
  out_.figure("downtime the client saw: failback", test::duration_text(back.length()));
  out_.title("Findings");
  out_.check(kept_down, "the repaired primary kept its application and its service address down");
  const words lost = without(before_durable, final_pages);
  out_.check(lost.empty(),
             fmt::format("all {} commits confirmed before the last durable one are present at the end",
                         before_durable.size()),
             "missing: " + some_of(lost));
  out_.check(cut_at - *durable <= promised_gap,
             fmt::format("the last durable commit was at most {} before the power loss",
                         test::duration_text(promised_gap)),
             text_of(cut_at - *durable));
  const words nowhere = without(missing, aside);
  const words strangers = without(without(only_aside, missing), unconfirmed);
  out_.check(
      nowhere.empty() && strangers.empty(),
      fmt::format("{} of {} confirmed commits are missing, and exactly these were set aside{}",
                  missing.size(), confirmed.size(), missing.empty() ? "" : " (" + some_of(missing) + ")"),
      nowhere.empty() ? "set aside, but present nowhere else: " + some_of(strangers)
                      : "nowhere: " + some_of(nowhere));
  check_files(cut_at, gone.first_after);
  check_databases();
}

void scenario::switchover() {
  begin("A planned switchover");
  const auto asked_at = wall_clock::now();
  out_.line(asked_at, "understudyctl failover primary --yes");
  writer_->follow({});
  site_.must({"failover", "primary", "--yes"});
  out_.line("done: the failover host serves");
  if (!client_->wait_confirmed(1, wall_clock::now(), patience))
    give_up("nobody answers after the switchover");
  const test::outage there = client_->longest_outage(asked_at, wall_clock::now());
  writer_->follow([this] { return site_.copy_of(site_.options().application.files); });
  std::this_thread::sleep_for(act_length);
  const test::outage back = fail_back("");
  std::this_thread::sleep_for(act_length / 2);
  end_work();

  const words missing = without(as_set(client_->confirmed()),
                                as_set(pages_of(site_.on_primary(site_.options().application.database))));
  out_.title("Durations");
  out_.figure("downtime the client saw: switchover", test::duration_text(there.length()));
  out_.figure("downtime the client saw: failback", test::duration_text(back.length()));
  out_.title("Findings");
  out_.check(missing.empty(),
             fmt::format("all {} confirmed commits are present at the end", client_->confirmed_count()),
             "missing: " + some_of(missing));
  out_.check(set_aside_pages().empty(), "nothing had to be set aside");
  check_files(wall_clock::time_point::max(), asked_at);
  check_databases();
}

test::outage scenario::fail_back(const std::string& choice) {
  const auto asked_at = wall_clock::now();
  std::vector<std::string> command = {"failback", "primary", "--yes"};
  if (!choice.empty()) command.push_back(choice);
  out_.line(asked_at, fmt::format("understudyctl {}", fmt::join(command, " ")));
  // Whoever writes beside the application has to know where it is; the demonstration holds its breath.
  writer_->follow({});
  site_.must(command);
  writer_->follow([this] { return site_.on_primary(site_.options().application.files); });
  out_.line("done: the primary serves");
  if (!client_->wait_confirmed(5, wall_clock::now(), patience)) give_up("nobody answers after the failback");
  return client_->longest_outage(asked_at, wall_clock::now());
}

void scenario::end_work() {
  writer_->stop();
  client_->stop();
  if (!site_.wait_in_step(patience)) give_up("the copy is not in step after the failback");
  out_.line("the copy is in step again: the primary is protected");
}

words scenario::set_aside_pages() {
  words pages;
  const fs::path kept = site_.on_primary("/var/lib/understudy-agent/set-aside");
  if (!fs::exists(kept)) return pages;
  for (const auto& entry : fs::recursive_directory_iterator(kept)) {
    if (entry.path().filename() != fs::path(site_.options().application.database).filename()) continue;
    out_.note("set aside: " + ("/" / entry.path().lexically_relative(site_.primary().root())).string());
    pages.merge(as_set(pages_of(entry.path())));
  }
  return pages;
}

void scenario::check_files(wall_clock::time_point cut_at, wall_clock::time_point served_again) {
  const fs::path directory = site_.on_primary(site_.options().application.files);
  words missing;
  std::size_t due = 0;
  for (const auto& [name, at] : writer_->written()) {
    const bool on_its_way = at > cut_at - file_settles && at < served_again;
    if (on_its_way) continue;
    ++due;
    if (!fs::exists(directory / name)) missing.insert(name);
  }
  out_.check(missing.empty(), fmt::format("all {} documents are present at the end", due),
             "missing: " + some_of(missing));
}

void scenario::check_databases() {
  const fs::path primary = site_.on_primary(site_.options().application.database);
  const fs::path copy = site_.copy_of(site_.options().application.database);
  const std::string hurt_primary = damage_of(primary);
  out_.check(hurt_primary.empty(),
             "the primary's repository passes integrity_check and fossil test-integrity", hurt_primary);
  const std::string hurt_copy = damage_of(copy);
  out_.check(hurt_copy.empty(), "the copy passes both, too", hurt_copy);
  const auto on_primary = pages_of(primary);
  out_.check(on_primary == pages_of(copy),
             fmt::format("the copy has the same {} pages as the primary", on_primary.size()));
}

}  // namespace understudy::demo
