// Items of one parallel loop, handed out so that a thread meets the same part of the data in every
// loop: what it wrote in one kernel it finds in its own caches in the next.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace sluice::kernels {

/// [0, count) in one contiguous share a thread. A thread takes its own items in order, then what
/// others have left, so that nobody idles while a thread is slow or descheduled.
class WorkShares {
 public:
  static constexpr int kSharesMax = 64;  ///< more threads than that begin in common shares

  WorkShares(std::int64_t count, int threads) : shares_(std::clamp(threads, 1, kSharesMax)) {
    for (int s = 0; s < shares_; ++s) {
      Share& share = share_of(s);
      share.next.store(count * s / shares_, std::memory_order_relaxed);
      share.end = count * (s + 1) / shares_;
    }
  }

  /// The next item for this thread, or -1 when all are taken. Every item is given out once.
  [[nodiscard]] std::int64_t take(int thread) {
    for (int tried = 0; tried < shares_; ++tried) {
      Share& share = share_of((thread + tried) % shares_);
      if (share.next.load(std::memory_order_relaxed) >= share.end) continue;
      const std::int64_t item = share.next.fetch_add(1, std::memory_order_relaxed);
      if (item < share.end) return item;
    }
    return -1;
  }

 private:
  struct alignas(64) Share {  // a cache line each
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };
  [[nodiscard]] Share& share_of(int s) { return storage_[static_cast<std::size_t>(s)]; }

  int shares_;
  std::array<Share, kSharesMax> storage_;
};

}  // namespace sluice::kernels
