// SLUICE_CHECK*: a bug prints what was compared and aborts, in release builds too. Never reached by
// user input.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace sluice {

[[noreturn]] void check_failed(const char* file, int line, std::string_view expression,
                               const std::string& detail);

namespace detail {
template <class A, class B>
[[noreturn]] void check_compare_failed(const char* file, int line, std::string_view expression,
                                       const A& a, const B& b) {
  if constexpr (fmt::is_formattable<A>::value && fmt::is_formattable<B>::value) {
    check_failed(file, line, expression, fmt::format("{} versus {}", a, b));
  } else {
    check_failed(file, line, expression, "");
  }
}
}  // namespace detail
}  // namespace sluice

#define SLUICE_CHECK(condition, ...)                                                         \
  do {                                                                                       \
    if (!(condition)) [[unlikely]]                                                           \
      ::sluice::check_failed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

#define SLUICE_CHECK_COMPARE_(a, op, b)                                                       \
  do {                                                                                        \
    const auto& sluice_a = (a);                                                               \
    const auto& sluice_b = (b);                                                               \
    if (!(sluice_a op sluice_b)) [[unlikely]]                                                 \
      ::sluice::detail::check_compare_failed(__FILE__, __LINE__, #a " " #op " " #b, sluice_a, \
                                             sluice_b);                                       \
  } while (false)

#define SLUICE_CHECK_EQ(a, b) SLUICE_CHECK_COMPARE_(a, ==, b)
#define SLUICE_CHECK_NE(a, b) SLUICE_CHECK_COMPARE_(a, !=, b)
#define SLUICE_CHECK_LT(a, b) SLUICE_CHECK_COMPARE_(a, <, b)
#define SLUICE_CHECK_LE(a, b) SLUICE_CHECK_COMPARE_(a, <=, b)
#define SLUICE_CHECK_GE(a, b) SLUICE_CHECK_COMPARE_(a, >=, b)
