// How a log lies on disk: 16 bytes that name the format, then records, then zeros or the end.
//
//   record  = word (8 bytes) | checksum (8) | content, padded to a multiple of 8
//   word    = kind (8 bits) | bytes of content (40) | check of these two and the offset (16)
//
// The checksum is XXH3 of the content, seeded with the word and the record's offset. The word is
// stored last, after all the rest of its record: a process that is killed leaves whole records and
// behind them a zero word (then perhaps some of the record that it was at). So a record that is
// there is whole, and one that does not match its checksum was changed afterwards.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/base/digest.hpp"

namespace sluice::trace {

inline constexpr std::string_view kLogMagic("sluice log\n\0\0\0\0\1",
                                            16);  // the last byte: version
/// "process-0.log" in the folder of a recording.
inline constexpr std::string_view kLogName = "process-0.log";

enum class RecordKind : std::uint8_t {
  kHeader = 1,  ///< first; JSON, recording.hpp
  kSend,        ///< an actor's output: receiver, time, message
  kForward,     ///< a channel passed on the oldest message it holds
  kDelivery,    ///< an actor acts on a message
  kTask,        ///< a task has run
  kPayload,     ///< elements of a tensor that later records refer to by digest
  kEnd,         ///< last of a log that was closed
};
inline constexpr auto kRecordKindLast = RecordKind::kEnd;

inline constexpr std::uint64_t kRecordHeadBytes = 16;
inline constexpr std::uint64_t kRecordBytesMax = (std::uint64_t{1} << 40) - 1;

[[nodiscard]] constexpr std::uint64_t padded(std::uint64_t bytes) { return (bytes + 7) & ~7ull; }

[[nodiscard]] inline std::uint64_t record_word(RecordKind kind, std::uint64_t bytes,
                                               std::uint64_t offset) {
  const std::uint64_t low = static_cast<std::uint64_t>(kind) | bytes << 8;
  const std::array<std::uint64_t, 2> both{low, offset};
  return low | digest(std::as_bytes(std::span(both))) << 48;
}
[[nodiscard]] inline std::uint64_t record_checksum(std::uint64_t word, std::uint64_t offset,
                                                   std::span<const std::byte> content) {
  return digest(content, word ^ offset * 0x9e3779b97f4a7c15u);
}

}  // namespace sluice::trace
