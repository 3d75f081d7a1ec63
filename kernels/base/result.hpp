// Expected failures as values: Result<T>, Status, and SLUICE_TRY to pass them up.
//
// A failure that a user, a file or a peer can cause is an Error; a bug is a SLUICE_CHECK
// (check.hpp). Nothing of ours throws. What a third-party library throws is caught in the file that
// includes it.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace sluice {

/// Who has to act. It decides the exit code of the command line and nothing else.
enum class ErrorKind {
  kInvalidInput,  ///< what the caller gave is wrong: exit code 2
  kFailed,        ///< it went wrong later (disk full, file vanished, peer lost): exit code 1
};

/// One failure: `message` says what, where (file, line or key) and the next step.
struct Error {
  ErrorKind kind = ErrorKind::kFailed;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

template <class... Args>
[[nodiscard]] tl::unexpected<Error> invalid_input(fmt::format_string<Args...> format,
                                                  Args&&... args) {
  return tl::unexpected(
      Error{ErrorKind::kInvalidInput, fmt::format(format, std::forward<Args>(args)...)});
}

template <class... Args>
[[nodiscard]] tl::unexpected<Error> failed(fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected(
      Error{ErrorKind::kFailed, fmt::format(format, std::forward<Args>(args)...)});
}

/// The same failure, told from one level up: "<where>: <message>".
[[nodiscard]] inline tl::unexpected<Error> in_context(std::string_view where, Error error) {
  error.message = fmt::format("{}: {}", where, error.message);
  return tl::unexpected(std::move(error));
}

}  // namespace sluice

#define SLUICE_CONCAT_(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_(a, b)

/// SLUICE_TRY(expression): returns its Error from the enclosing function, or goes on.
#define SLUICE_TRY(...)                                                                  \
  do {                                                                                   \
    auto sluice_try_result = (__VA_ARGS__);                                              \
    if (!sluice_try_result) return tl::unexpected(std::move(sluice_try_result).error()); \
  } while (false)

/// SLUICE_ASSIGN(auto x, expression): declares or assigns x from a Result, or returns its Error.
#define SLUICE_ASSIGN(lhs, ...) \
  SLUICE_ASSIGN_(SLUICE_CONCAT(sluice_assign_, __LINE__), lhs, __VA_ARGS__)
#define SLUICE_ASSIGN_(temporary, lhs, ...)                            \
  auto temporary = (__VA_ARGS__);                                      \
  if (!temporary) return tl::unexpected(std::move(temporary).error()); \
  lhs = std::move(*temporary)
