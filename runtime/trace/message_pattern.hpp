// A message in words, as a person names it on a command line and as reports print it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "actors/message.hpp"
#include "kernels/base/result.hpp"

namespace sluice::trace {

/// A delivery in words: what it is ("combine", "StepStart", "attention done"), its key and who sent
/// it.
struct Delivered {
  std::string what;
  actors::Key key{};
  std::string from;
  std::int64_t sequence = 0;
};
/// A message as delivery number `sequence` of the actor that it goes to.
[[nodiscard]] Delivered describe(const actors::Message& message, std::string from,
                                 std::int64_t sequence);
/// "combine of step 3, micro-batch 1, layer 2 from experts 0.1"
[[nodiscard]] std::string to_string(const Delivered& delivered);

/// What to_string() gives, or part of it: "combine", "combine step 3 layer 2", "attention done of
/// step 2, micro-batch 0, layer 1", "StepStart from supervisor"; or "#17", an actor's delivery by
/// number from 0. What is left out matches anything.
class MessagePattern {
 public:
  [[nodiscard]] static Result<MessagePattern> parse(std::string_view text);
  [[nodiscard]] bool matches(const Delivered& delivered) const;
  /// Whether a message of this key is of the step, micro-batch and layer that are asked for.
  [[nodiscard]] bool matches(const actors::Key& key) const;

 private:
  std::string what_, from_;
  std::optional<std::int64_t> step_, micro_batch_, layer_, sequence_;
};

}  // namespace sluice::trace
