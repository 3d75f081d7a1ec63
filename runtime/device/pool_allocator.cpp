// Size classes, and free blocks by size.
#include "runtime/device/pool_allocator.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/base/check.hpp"

namespace sluice::device {
namespace {

constexpr std::size_t kBlockBytesMin = 512;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kClassesPerDoubling = 8;

// Null where the system has none.
std::byte* take_from_system(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePageBytes ? kHugePageBytes : 64;
  void* block = nullptr;
  if (posix_memalign(&block, alignment, bytes) != 0) return nullptr;
  if (bytes >= kHugePageBytes) madvise(block, bytes, MADV_HUGEPAGE);  // a hint: refusal is fine
  return static_cast<std::byte*>(block);
}

bool is_address_space_limited() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

}  // namespace

struct PoolAllocator::State {
  mutable std::mutex mutex;
  std::map<std::size_t, std::vector<std::byte*>> free;  // by class_bytes; the last ones go first
  std::map<std::size_t, std::size_t> taken;             // blocks of each class, free or not
  Statistics statistics;
  bool settled = false;  // add_spares() was called

  ~State() { release_unused(); }

  // A free block of at least `bytes` and its size, or null. Called with the mutex held.
  std::pair<std::byte*, std::size_t> take_free(std::size_t bytes) {
    // Once there are spares, any larger block is better than new memory.
    const std::size_t most = settled ? std::numeric_limits<std::size_t>::max() : 2 * bytes;
    for (auto found = free.lower_bound(bytes); found != free.end() && found->first <= most;
         ++found) {
      if (found->second.empty()) continue;
      std::byte* block = found->second.back();
      found->second.pop_back();
      return {block, found->first};
    }
    return {nullptr, bytes};
  }

  void put_back(std::byte* block, std::size_t block_bytes, std::size_t used_bytes) {
    const std::lock_guard lock(mutex);
    statistics.bytes_in_use -= static_cast<std::int64_t>(used_bytes);
    free[block_bytes].push_back(block);
  }

  // With the mutex held.
  void count_new(std::size_t block_bytes, std::size_t blocks) {
    taken[block_bytes] += blocks;
    statistics.blocks += static_cast<std::int64_t>(blocks);
    statistics.reserved_bytes += static_cast<std::int64_t>(block_bytes * blocks);
  }

  void release_unused() {
    const std::lock_guard lock(mutex);
    for (auto& [bytes, blocks] : free) {
      for (std::byte* block : blocks) std::free(block);
      statistics.reserved_bytes -= static_cast<std::int64_t>(bytes * blocks.size());
      taken[bytes] -= blocks.size();
      blocks.clear();
    }
  }
};

PoolAllocator::PoolAllocator() : state_(std::make_shared<State>()) {}
PoolAllocator::~PoolAllocator() = default;

std::size_t PoolAllocator::class_bytes(std::size_t bytes) {
  if (bytes <= kBlockBytesMin) return kBlockBytesMin;
  const std::size_t step = std::bit_floor(bytes - 1) / kClassesPerDoubling;
  return (bytes + step - 1) / step * step;
}

std::shared_ptr<std::byte> PoolAllocator::allocate(std::size_t bytes) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  auto [block, block_bytes] = state.take_free(class_bytes(bytes));
  Statistics& statistics = state.statistics;
  statistics.bytes_in_use += static_cast<std::int64_t>(bytes);
  statistics.bytes_in_use_peak = std::max(statistics.bytes_in_use_peak, statistics.bytes_in_use);
  if (block == nullptr) {
    state.count_new(block_bytes, 1);
    lock.unlock();
    block = take_from_system(block_bytes);
    SLUICE_CHECK(block != nullptr, "out of memory: {} bytes", block_bytes);
  }
  return {block, [state = state_, block_bytes = block_bytes, bytes](std::byte* p) {
            state->put_back(p, block_bytes, bytes);
          }};
}

PoolAllocator::Statistics PoolAllocator::statistics() const {
  const std::lock_guard lock(state_->mutex);
  return state_->statistics;
}

void PoolAllocator::reset_peak() {
  const std::lock_guard lock(state_->mutex);
  state_->statistics.bytes_in_use_peak = state_->statistics.bytes_in_use;
}

void PoolAllocator::add_spares() {
  constexpr std::size_t kSparesMin = 2;
  if (is_address_space_limited()) return;
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  state.settled = true;
  std::map<std::size_t, std::size_t> wanted;
  for (const auto& [bytes, blocks] : state.free) {
    wanted[bytes] += std::max(kSparesMin, state.taken[bytes]);
    wanted[class_bytes(2 * bytes)] += 1;
  }
  for (const auto& [bytes, spares] : wanted) {
    std::vector<std::byte*>& blocks = state.free[bytes];
    for (std::size_t i = 0; i < spares; ++i) {
      std::byte* block = take_from_system(bytes);
      if (block == nullptr) return;          // then a later step asks again, if it must
      blocks.insert(blocks.begin(), block);  // used last
      state.count_new(bytes, 1);
    }
  }
}

void PoolAllocator::release_unused() { state_->release_unused(); }

}  // namespace sluice::device
