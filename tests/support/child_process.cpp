// fork, limits, exec; pipes read with poll.
#include "tests/support/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include "kernels/base/check.hpp"

namespace sluice::test {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void limit(int what, const std::optional<std::uint64_t>& most) {
  if (!most) return;
  const rlimit value{*most, *most};
  ::setrlimit(static_cast<__rlimit_resource>(what), &value);
}

// In the child, after fork: only what is safe there.
[[noreturn]] void become(char* const* arguments, const ChildOptions& options, int out, int error) {
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(error, STDERR_FILENO);
  limit(RLIMIT_FSIZE, options.file_bytes_max);
  limit(RLIMIT_AS, options.memory_bytes_max);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

void close_once(int& file) {
  if (file >= 0) ::close(std::exchange(file, -1));
}

// False: at its end.
bool read_available(int& file, std::string& text) {
  char buffer[4096];
  const ssize_t count = ::read(file, buffer, sizeof buffer);
  if (count > 0) text.append(buffer, static_cast<std::size_t>(count));
  if (count == 0) close_once(file);
  return count != 0;
}

}  // namespace

ChildProcess ChildProcess::start(const std::vector<std::string>& arguments,
                                 const ChildOptions& options) {
  std::vector<std::string> copies = arguments;
  std::vector<char*> pointers;
  for (std::string& argument : copies) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  int out[2], error[2];
  SLUICE_CHECK_EQ(::pipe2(out, O_CLOEXEC), 0);
  SLUICE_CHECK_EQ(::pipe2(error, O_CLOEXEC), 0);
  ChildProcess child;
  child.id_ = ::fork();
  SLUICE_CHECK_GE(child.id_, 0);
  if (child.id_ == 0) become(pointers.data(), options, out[1], error[1]);
  ::close(out[1]);
  ::close(error[1]);
  child.out_ = out[0];
  child.error_ = error[0];
  child.deadline_s_ = now_s() + options.seconds_max;
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : id_(std::exchange(other.id_, -1)),
      out_(std::exchange(other.out_, -1)),
      error_(std::exchange(other.error_, -1)),
      deadline_s_(other.deadline_s_),
      result_(std::move(other.result_)) {}

ChildProcess::~ChildProcess() {
  close_once(out_);
  close_once(error_);
  if (id_ < 0) return;
  ::kill(id_, SIGKILL);
  ::waitpid(id_, nullptr, 0);
}

void ChildProcess::send_signal(int number) const {
  SLUICE_CHECK_GE(id_, 0);
  ::kill(id_, number);
}

bool ChildProcess::read_some(double seconds_max) {
  pollfd files[2] = {{out_, POLLIN, 0}, {error_, POLLIN, 0}};
  const int ready = ::poll(files, 2, std::max(1, static_cast<int>(seconds_max * 1000)));
  if (ready > 0 && files[0].revents != 0) read_available(out_, result_.out);
  if (ready > 0 && files[1].revents != 0) read_available(error_, result_.error);
  return out_ >= 0 || error_ >= 0;
}

bool ChildProcess::wait_for_output(const std::string& text) {
  while (result_.out.find(text) == std::string::npos) {
    const double left = deadline_s_ - now_s();
    if (left <= 0 || !read_some(left)) return result_.out.find(text) != std::string::npos;
  }
  return true;
}

ChildResult ChildProcess::wait() {
  while (out_ >= 0 || error_ >= 0) {
    const double left = deadline_s_ - now_s();
    if (left <= 0 && !std::exchange(result_.timed_out, true)) ::kill(id_, SIGKILL);
    read_some(std::max(0.1, left));
  }
  int status = 0;
  while (::waitpid(id_, &status, 0) < 0 && errno == EINTR) {
  }
  id_ = -1;
  if (WIFEXITED(status)) result_.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result_.signal_number = WTERMSIG(status);
  return std::move(result_);
}

ChildResult run_child(const std::vector<std::string>& arguments, const ChildOptions& options) {
  return ChildProcess::start(arguments, options).wait();
}

}  // namespace sluice::test
