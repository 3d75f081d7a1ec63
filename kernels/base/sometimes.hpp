// SLUICE_SOMETIMES: marks a rare path that some test must walk.
//
//   SLUICE_SOMETIMES(credits == 0, "a sender waits for a credit");
//
// Where a check says what must never be, this says what must be now and then: tests that never get
// there test less than they seem to. Marks are known before main(), so that those which never fired
// can be listed. Each costs a test of its condition, and where that holds a plain increment; so
// they stand in release builds too, off the inner loops. Not in templates or inline functions, of
// which there may be several copies.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace sluice {

/// One mark in the source. The count is of the process, near enough where threads meet.
struct alignas(32) RarePath {
  const char* text;
  const char* file;
  std::atomic<std::uint64_t> count;
  std::int32_t line;
  void pass() { count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
};

/// All marks that are linked into this program or library.
[[nodiscard]] std::span<RarePath> rare_paths();

}  // namespace sluice

#define SLUICE_SOMETIMES(condition, text)                                                       \
  do {                                                                                          \
    [[gnu::section("sluice_rare_paths"),                                                        \
      gnu::used]] static constinit ::sluice::RarePath sluice_path{text, __FILE__, 0, __LINE__}; \
    if (condition) sluice_path.pass();                                                          \
  } while (false)
