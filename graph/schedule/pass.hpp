// What a rank does, one after the other: passes of a micro-batch through a chunk of the model.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/check.hpp"

namespace sluice::graph {

enum class PassKind : std::uint8_t {
  kForward,         ///< F
  kBackward,        ///< B: gradients of input and weights
  kBackwardInput,   ///< I: gradient of the input; the weights' is left for W
  kBackwardWeight,  ///< W: what I left
};
/// 'F', 'B', 'I' or 'W'.
[[nodiscard]] constexpr char letter_of(PassKind kind) {
  return std::array{'F', 'B', 'I', 'W'}[static_cast<std::size_t>(kind)];
}

/// One micro-batch through one chunk. Which stage of the model the chunk is, and which way the
/// micro-batch goes, Placement says.
struct Pass {
  PassKind kind = PassKind::kForward;
  std::int32_t chunk = 0;        ///< among those of the rank
  std::int32_t micro_batch = 0;  ///< counted in the chunk's route
  friend bool operator==(const Pass&, const Pass&) = default;
};

/// What a rank starts as one: a pass, or a forward and a full backward pass of different
/// micro-batches that overlap. Whoever walks passes() needs no case for pairs.
class Action {
 public:
  Action(Pass pass) : passes_{pass, pass}, count_(1) {}  // NOLINT: a pass is an action
  Action(Pass forward, Pass backward) : passes_{forward, backward}, count_(2) {
    SLUICE_CHECK(forward.kind == PassKind::kForward && backward.kind == PassKind::kBackward,
                 "a pair is of a forward and a full backward pass");
  }
  [[nodiscard]] std::span<const Pass> passes() const { return std::span(passes_).first(count_); }
  [[nodiscard]] bool is_pair() const { return count_ == 2; }
  friend bool operator==(const Action&, const Action&) = default;

 private:
  std::array<Pass, 2> passes_;
  std::size_t count_;
};

/// What one rank does, in order of priority.
using Program = std::vector<Action>;

}  // namespace sluice::graph
