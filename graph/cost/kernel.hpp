// One kernel of a task as the cost model sees it, and its time.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "graph/cost/hardware.hpp"

namespace sluice::cost {

/// Groups of [rows, depth] x [depth, columns].
struct Product {
  enum class Type : std::uint8_t { kFp8, kFp8Weight, kBf16 };
  Type type = Type::kBf16;
  double rows = 0, columns = 0, depth = 0;
  double groups = 1;
  [[nodiscard]] double operations() const { return 2 * rows * columns * depth * groups; }
};
/// The core: scores, softmax, values.
struct Attention {
  double operations = 0;
  bool is_backward = false;
};
struct Move {
  Movement movement = Movement::kCopy;
  double bytes = 0;
};
/// Kernels whose time is the latency of their chain.
struct Routing {};
/// Tokens, sums or gradients between the ranks of an expert group.
struct AllToAll {
  enum class Phase : std::uint8_t {
    kDispatchForward,
    kCombineForward,
    kCombineBackward,
    kDispatchBackward
  };
  Phase phase = Phase::kDispatchForward;
  double bytes = 0;  ///< copies of tokens to nodes, or to ranks where all are on one node
  bool within_node = false;
};

enum class KernelClass : std::uint8_t {
  kProduct,
  kGroupedProduct,
  kWeightProduct,
  kAttentionForward,
  kAttentionBackward,
  kMovement,
  kDispatchForward,
  kCombineForward,
  kCombineBackward,
  kDispatchBackward
};
inline constexpr std::array<std::string_view, 10> kKernelClassNames{
    "product",           "grouped product",    "weight-gradient product",
    "attention forward", "attention backward", "movement",
    "dispatch forward",  "combine forward",    "combine backward",
    "dispatch backward"};

struct Kernel {
  std::string_view name;  ///< "q_b", "expert gate_up"
  KernelClass kind = KernelClass::kMovement;
  std::variant<Product, Attention, Move, Routing, AllToAll> work;
  [[nodiscard]] bool is_transfer() const { return std::holds_alternative<AllToAll>(work); }
};

/// Seconds on `sms` of the device's SMs, gaps between launches not counted. Products come in whole
/// waves of tiles; movements do not depend on the SMs.
[[nodiscard]] double seconds_of(const Kernel& kernel, const Hardware& hardware, double sms);

}  // namespace sluice::cost
