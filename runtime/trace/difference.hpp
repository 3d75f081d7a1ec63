// Where two runs part: the first message that is not the same, and what in it.
#pragma once

#include <optional>
#include <string>

#include "runtime/trace/message_codec.hpp"

namespace sluice::trace {

struct Difference {
  std::string actor;  ///< who sent it
  std::string receiver;
  std::string message;      ///< "combine of step 3, micro-batch 1, layer 2"
  std::string note;         ///< more about the step, where its number says little; may be empty
  std::string field;        ///< "sums.rows"; empty: one of the two has another message, or none
  std::string array;        ///< "F32 [96, 32]"; empty: the field is no array
  std::string element;      ///< "[12, 5]", the first that differs; empty: not known, or no array
  std::string here, there;  ///< values: of the element, else of the field, else digests
  std::int64_t elements = 0, elements_differ = 0;  ///< of the array, where elements are known
  double distance_max = 0;                         ///< between two elements
};

/// "experts 0.1: combine of ... to stage 0 differs in ...". `here` and `there` say what the two
/// runs are: "recorded", "replayed".
[[nodiscard]] std::string to_string(const Difference& difference, std::string_view here,
                                    std::string_view there);

/// An encoded message with a way to its elements.
struct Told {
  std::span<const std::byte> message;
  ArraySource elements;
};
/// The first field that differs, and in it the first element where both have elements. Nothing when
/// the messages say the same. Errors: bytes that are no message.
[[nodiscard]] Result<std::optional<Difference>> compare(const Told& here, const Told& there);

}  // namespace sluice::trace
