// Heap memory that counts: bytes alive, their peak, and the sizes asked for.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/base/tensor.hpp"

namespace sluice::test {

/// Blocks may outlive the allocator.
class MeasuringAllocator final : public Allocator {
 public:
  struct Counts {
    std::mutex mutex;
    std::int64_t live = 0;
    std::int64_t peak = 0;
    std::map<std::size_t, std::int64_t> live_by_size;
    std::map<std::size_t, std::int64_t> peak_by_size;  ///< what a pool by size would hold
  };

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    std::shared_ptr<std::byte> block = heap_allocator().allocate(bytes);
    change(*counts_, bytes, 1);
    std::byte* data = block.get();
    return {data, [block = std::move(block), bytes, counts = counts_](std::byte*) {
              change(*counts, bytes, -1);
            }};
  }

  [[nodiscard]] std::int64_t live() const { return counts_->live; }
  [[nodiscard]] std::int64_t peak() const { return counts_->peak; }
  void reset_peak() { counts_->peak = counts_->live; }
  [[nodiscard]] const std::map<std::size_t, std::int64_t>& peak_by_size() const {
    return counts_->peak_by_size;
  }

 private:
  static void change(Counts& counts, std::size_t bytes, std::int64_t by) {
    const std::scoped_lock lock(counts.mutex);
    counts.live += by * static_cast<std::int64_t>(bytes);
    counts.peak = std::max(counts.peak, counts.live);
    std::int64_t& blocks = counts.live_by_size[bytes];
    blocks += by;
    std::int64_t& most = counts.peak_by_size[bytes];
    most = std::max(most, blocks);
  }

  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();  // shared with the blocks
};

}  // namespace sluice::test
