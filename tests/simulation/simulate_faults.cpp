// Runs fault plans under many seeds: simulate_faults PLAN... [--first SEED] [--seeds N] [--threads
// T]
// [--require] [--verbose]. Every seed must end with the weights of the undisturbed run; one in
// twenty runs twice and must agree in every event. Rare paths that no seed took are listed; with
// --require they fail the run. Ends with "N seeds, D divergences, TIME"; exit code 1 where D > 0.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>

#include "kernels/base/sometimes.hpp"
#include "runtime/store/file.hpp"
#include "tests/simulation/simulation.hpp"

namespace sluice::simulation {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> plans;
  std::uint64_t first = 0;
  std::uint64_t seeds = 100;
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  bool require = false;
  bool verbose = false;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(stderr,
               "simulate_faults: %s\nuse: simulate_faults PLAN.toml... [--first SEED] "
               "[--seeds N] [--threads T] [--require] [--verbose]\n",
               what.c_str());
  std::exit(2);
}

Options parse(int count, char** values) {
  Options out;
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    const auto number = [&]() -> std::uint64_t {
      char* end = nullptr;
      const std::uint64_t value = i + 1 < count ? std::strtoull(values[++i], &end, 10) : 0;
      if (end == nullptr || *end != '\0') usage(word + " needs a number");
      return value;
    };
    if (word == "--first") {
      out.first = number();
    } else if (word == "--seeds") {
      out.seeds = number();
    } else if (word == "--threads") {
      out.threads = std::max(1u, static_cast<unsigned>(number()));
    } else if (word == "--require") {
      out.require = true;
    } else if (word == "--verbose") {
      out.verbose = true;
    } else if (word.starts_with("--")) {
      usage("unknown option " + word);
    } else {
      out.plans.push_back(word);
    }
  }
  if (out.plans.empty()) usage("names no plan");
  return out;
}

std::string time_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds);
  if (whole < 60) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{} min {:02} s", whole / 60, whole % 60);
}

// What this thread is at: a bug that aborts or crashes says how to come back to it.
thread_local char rerun_line[512];

void on_crash(int) {
  constexpr std::string_view kText = "rerun: ";
  static_cast<void>(!::write(2, kText.data(), kText.size()));
  static_cast<void>(!::write(2, rerun_line, std::strlen(rerun_line)));
  static_cast<void>(!::write(2, "\n", 1));
}

class Soak {
 public:
  Soak(const Options& options, std::string program)
      : options_(options), program_(std::move(program)) {}

  int run() {
    for (const std::string& path : options_.plans) {
      auto plan = config::load_fault_plan(path);
      if (!plan) usage(plan.error().message);
      plans_.push_back(std::move(*plan));
    }
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < options_.threads; ++t) threads.emplace_back([this, t] { work(t); });
    watch();
    for (std::thread& thread : threads) thread.join();
    return finish();
  }

 private:
  void work(unsigned thread) {
    const std::filesystem::path folder =
        scratch() / fmt::format("sluice-soak-{}-{}", ::getpid(), thread);
    for (std::uint64_t i = next_++; i < options_.seeds; i = next_++) {
      const std::uint64_t seed = options_.first + i;
      const std::size_t which = seed % plans_.size();
      const std::string line = fmt::format("{} {} --first {} --seeds 1 --threads 1", program_,
                                           options_.plans[which], seed);
      std::snprintf(rerun_line, sizeof rerun_line, "%s", line.c_str());
      if (const Status status = check(plans_[which], seed, folder); !status) {
        ++divergences_;
        std::fprintf(stderr, "seed %llu of %s: %s\nrerun: %s\n",
                     static_cast<unsigned long long>(seed), options_.plans[which].c_str(),
                     status.error().message.c_str(), line.c_str());
      }
      ++done_;
    }
  }

  // In memory where that can be: a simulated disk is what is tested, not the machine's.
  static std::filesystem::path scratch() {
    const std::filesystem::path memory = "/dev/shm";
    return ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
  }

  Status check(const config::FaultPlan& plan, std::uint64_t seed,
               const std::filesystem::path& folder) {
    SLUICE_ASSIGN(const Weights expected, undisturbed_.weights(plan, settings_of_seed(plan, seed)));
    SLUICE_ASSIGN(const Run run, simulate_in(plan, seed, folder));
    virtual_ns_ += run.virtual_ns;
    starts_ += run.starts;
    if (options_.verbose) {
      std::fprintf(stderr, "seed %llu: %lld starts, %.1f ms, events %016llx, %s\n",
                   static_cast<unsigned long long>(seed), static_cast<long long>(run.starts),
                   static_cast<double>(run.virtual_ns) * 1e-6,
                   static_cast<unsigned long long>(run.trace),
                   fmt::format("{}", fmt::join(settings_of_seed(plan, seed), " ")).c_str());
    }
    SLUICE_TRY(compare(run.weights, expected));
    if (seed / plans_.size() % 20 != 0) return {};
    ++twice_;
    SLUICE_ASSIGN(const Run again, simulate_in(plan, seed, folder));
    if (again.trace != run.trace) return failed("two runs of the seed differ in their events");
    return compare(again.weights, expected);
  }

  static Result<Run> simulate_in(const config::FaultPlan& plan, std::uint64_t seed,
                                 const std::filesystem::path& folder) {
    SLUICE_TRY(store::remove_tree(folder));
    const store::TemporaryTree tree(folder);
    return simulate(plan, seed, folder);
  }

  void watch() {
    const bool is_terminal = ::isatty(2) == 1;
    auto shown = Clock::now();
    while (done_ < options_.seeds) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const auto every = is_terminal ? std::chrono::milliseconds(500) : std::chrono::seconds(15);
      if (Clock::now() - shown < every || done_ == 0) continue;
      shown = Clock::now();
      const double left =
          seconds() / static_cast<double>(done_) * static_cast<double>(options_.seeds - done_);
      std::fprintf(stderr, "%s%llu of %llu seeds, %llu divergences, %s, %s to go%s",
                   is_terminal ? "\r\033[K" : "", static_cast<unsigned long long>(done_),
                   static_cast<unsigned long long>(options_.seeds),
                   static_cast<unsigned long long>(divergences_), time_text(seconds()).c_str(),
                   time_text(left).c_str(), is_terminal ? "" : "\n");
    }
    if (is_terminal) std::fprintf(stderr, "\r\033[K");
  }

  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - began_).count();
  }

  int finish() {
    const double elapsed = seconds();
    std::printf("%lld starts, %lld seeds twice, %s of virtual time\n",
                static_cast<long long>(starts_), static_cast<long long>(twice_),
                time_text(static_cast<double>(virtual_ns_) * 1e-9).c_str());
    int never = 0;
    for (const RarePath& path : rare_paths()) {
      const auto count = static_cast<unsigned long long>(path.count.load());
      if (options_.verbose) std::printf("%10llu  %s\n", count, path.text);
      if (count > 0) continue;
      ++never;
      std::printf("never: %s (%s:%d)\n", path.text, path.file, path.line);
    }
    std::printf("%llu seeds, %llu divergences, %s\n",
                static_cast<unsigned long long>(options_.seeds),
                static_cast<unsigned long long>(divergences_), time_text(elapsed).c_str());
    return divergences_ > 0 || (options_.require && never > 0) ? 1 : 0;
  }

  const Options& options_;
  std::string program_;
  std::vector<config::FaultPlan> plans_;
  Undisturbed undisturbed_;
  const Clock::time_point began_ = Clock::now();
  std::atomic<std::uint64_t> next_ = 0, done_ = 0, divergences_ = 0;
  std::atomic<std::int64_t> virtual_ns_ = 0, starts_ = 0, twice_ = 0;
};

}  // namespace
}  // namespace sluice::simulation

int main(int count, char** values) {
  struct sigaction action {};
  action.sa_handler = sluice::simulation::on_crash;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // and then what it does by itself
  for (const int crash : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
    ::sigaction(crash, &action, nullptr);
  const auto options = sluice::simulation::parse(count, values);
  return sluice::simulation::Soak(options, values[0]).run();
}
