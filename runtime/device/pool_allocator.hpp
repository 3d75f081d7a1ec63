// Memory of a device: blocks that were freed are given out again, so that a training step takes no
// new memory once it has run twice and add_spares() was called.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/base/tensor.hpp"

namespace sluice::device {

/// Blocks come in size classes, eight to a doubling (at most 1/8 of a block is unused), and return
/// to their class when the last reference goes. A request takes the smallest free block that fits,
/// up to twice its size, before it takes new memory: steps that interleave differently then live on
/// the same blocks. Blocks from 2 MiB on ask for huge pages. A block may outlive the allocator.
class PoolAllocator final : public Allocator {
 public:
  PoolAllocator();
  ~PoolAllocator() override;
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override;

  struct Statistics {
    std::int64_t blocks = 0;             ///< taken from the system so far
    std::int64_t reserved_bytes = 0;     ///< taken from the system and not given back
    std::int64_t bytes_in_use = 0;       ///< asked for and not freed
    std::int64_t bytes_in_use_peak = 0;  ///< since the start or reset_peak
  };
  [[nodiscard]] Statistics statistics() const;
  void reset_peak();
  /// Makes as many free blocks again of every size that ever came back, two at least, and one of
  /// twice the size; from then on any larger block serves before new memory is taken. Later steps
  /// interleave in another way (passes run ahead), and their experts have other loads; with spares
  /// they need nothing from the system. A spare that is never used takes address space alone; where
  /// that is limited (ulimit -v) there are none.
  void add_spares();
  /// Gives free blocks back to the system: between phases of different sizes, never inside a step.
  void release_unused();

  /// Size of the block that serves a request.
  [[nodiscard]] static std::size_t class_bytes(std::size_t bytes);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the blocks that are out
};

}  // namespace sluice::device
