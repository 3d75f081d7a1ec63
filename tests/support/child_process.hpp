// A program run as a child: what it writes, how it ends, with limits, or killed at a moment.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice::test {

struct ChildOptions {
  std::optional<std::uint64_t> file_bytes_max;    ///< RLIMIT_FSIZE
  std::optional<std::uint64_t> memory_bytes_max;  ///< RLIMIT_AS
  double seconds_max = 120;                       ///< then it is killed, and `timed_out`
};

struct ChildResult {
  int exit_code = -1;  ///< -1: ended by a signal
  int signal_number = 0;
  bool timed_out = false;
  std::string out, error;  ///< what it wrote
};

/// A running child; killed where it is destroyed before wait(). Move-only.
class ChildProcess {
 public:
  /// `arguments[0]` is the program. Standard input is empty.
  [[nodiscard]] static ChildProcess start(const std::vector<std::string>& arguments,
                                          const ChildOptions& options = {});
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  void send_signal(int number) const;
  /// Until it has written `text` to standard output; false when it ended before, or took too long.
  [[nodiscard]] bool wait_for_output(const std::string& text);
  /// Reads to the end of both outputs and waits for the child.
  [[nodiscard]] ChildResult wait();

 private:
  ChildProcess() = default;
  bool read_some(double seconds_max);  // false: both outputs have ended

  pid_t id_ = -1;
  int out_ = -1, error_ = -1;  // pipes
  double deadline_s_ = 0;
  ChildResult result_;
};

/// Start and wait.
[[nodiscard]] ChildResult run_child(const std::vector<std::string>& arguments,
                                    const ChildOptions& options = {});

}  // namespace sluice::test
