// Lanes: a thread that takes the best task from a queue, and sleeps when there is none.
#include "runtime/device/cpu_device.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "kernels/base/check.hpp"

namespace sluice::device {
namespace {

using Clock = std::chrono::steady_clock;

// An answer to a message usually follows within microseconds; sleeping and waking costs about 50.
// Spinning for longer would take the core from the thread that runs the actors.
constexpr int kSpins = 200;

struct Entry {
  std::int32_t priority;
  std::uint64_t order;  // of submission
  mutable actors::Task task;
  mutable std::function<void()> done;
  bool operator<(const Entry& other) const {
    return std::tie(priority, order) < std::tie(other.priority, other.order);
  }
};

class LaneThread {
 public:
  explicit LaneThread(const kernels::ComputeContext& context)
      : context_(context), since_(Clock::now()), thread_([this] { drive(); }) {}

  ~LaneThread() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  void submit(actors::Task task, std::function<void()> done) {
    {
      const std::lock_guard lock(mutex_);
      SLUICE_CHECK(!stopping_, "task {} was submitted to a device that stops", task.name);
      const std::int32_t priority = task.priority;
      queue_.insert({priority, next_order_++, std::move(task), std::move(done)});
      queued_.store(queue_.size(), std::memory_order_relaxed);
    }
    changed_.notify_one();
  }

  CpuDevice::LaneStatistics statistics() const {
    const std::lock_guard lock(mutex_);
    const std::chrono::duration<double> whole = Clock::now() - since_;
    CpuDevice::LaneStatistics statistics = statistics_;
    statistics.idle_seconds = std::max(0.0, whole.count() - statistics.busy_seconds);
    return statistics;
  }

  void reset_statistics() {
    const std::lock_guard lock(mutex_);
    statistics_ = {};
    since_ = Clock::now();
  }

 private:
  void drive() {
    for (;;) {
      std::optional<Entry> entry = next();
      if (!entry) return;
      const auto start = Clock::now();
      entry->task.body(context_);
      entry->task.body = nullptr;
      const std::chrono::duration<double> took = Clock::now() - start;
      {
        const std::lock_guard lock(mutex_);
        statistics_.tasks += 1;
        statistics_.busy_seconds += took.count();
      }
      entry->done();
    }
  }

  // The best task, or nothing once the lane stops and is empty.
  std::optional<Entry> next() {
    for (int spin = 0; spin < kSpins && queued_.load(std::memory_order_relaxed) == 0; ++spin) {
      __builtin_ia32_pause();
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return std::nullopt;
    Entry entry = std::move(queue_.extract(queue_.begin()).value());
    queued_.store(queue_.size(), std::memory_order_relaxed);
    return entry;
  }

  const kernels::ComputeContext& context_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Entry> queue_;
  std::atomic<std::size_t> queued_{0};  // size of queue_, to spin on
  std::uint64_t next_order_ = 0;
  bool stopping_ = false;
  CpuDevice::LaneStatistics statistics_;
  Clock::time_point since_;
  std::thread thread_;  // last: it uses all of the above
};

// A rank's lanes.
class RankLanes final : public Device {
 public:
  RankLanes(const CpuDevice::Config& config, PoolAllocator& allocator)
      : team(config.threads),
        compute_context{config.isa, config.bf16, &team, &allocator,
                        config.profile ? &profile : nullptr},
        storage_context{config.isa, config.bf16, &storage_team, &allocator, nullptr} {}

  void submit(actors::Task task, std::function<void()> done) override {
    SLUICE_CHECK(task.body != nullptr, "task {} has no body", task.name);
    lane(task.lane).submit(std::move(task), std::move(done));
  }
  LaneThread& lane(actors::Lane which) {
    return which == actors::Lane::kStorage ? storage : compute;
  }

  kernels::Profile profile;
  kernels::ThreadTeam team;
  kernels::ThreadTeam storage_team{1};
  kernels::ComputeContext compute_context;
  kernels::ComputeContext storage_context;
  LaneThread compute{compute_context};
  LaneThread storage{storage_context};
};

}  // namespace

struct CpuDevice::State {
  PoolAllocator allocator;
  std::vector<std::unique_ptr<RankLanes>> ranks;  // after the allocator that their tasks use
};

CpuDevice::CpuDevice(const Config& config) : state_(std::make_unique<State>()) {
  SLUICE_CHECK(config.ranks >= 1);
  for (int rank = 0; rank < config.ranks; ++rank)
    state_->ranks.push_back(std::make_unique<RankLanes>(config, state_->allocator));
}
CpuDevice::~CpuDevice() = default;

void CpuDevice::submit(actors::Task task, std::function<void()> done) {
  state_->ranks[0]->submit(std::move(task), std::move(done));
}

Device& CpuDevice::of_rank(std::int32_t rank) {
  SLUICE_CHECK(rank >= 0 && (ranks() == 1 || rank < ranks()), "no lanes for rank {}", rank);
  return *state_->ranks[ranks() == 1 ? 0 : static_cast<std::size_t>(rank)];
}

int CpuDevice::ranks() const { return static_cast<int>(state_->ranks.size()); }

PoolAllocator& CpuDevice::allocator() { return state_->allocator; }
const kernels::ComputeContext& CpuDevice::context() const {
  return state_->ranks[0]->compute_context;
}

CpuDevice::LaneStatistics CpuDevice::statistics(actors::Lane lane) const {
  LaneStatistics sum;
  for (const auto& rank : state_->ranks) {
    const LaneStatistics one = rank->lane(lane).statistics();
    sum.tasks += one.tasks;
    sum.busy_seconds += one.busy_seconds;
    sum.idle_seconds += one.idle_seconds;
  }
  return sum;
}

void CpuDevice::reset_statistics() {
  for (const auto& rank : state_->ranks) {
    rank->compute.reset_statistics();
    rank->storage.reset_statistics();
    rank->profile.clear();
  }
}

kernels::Profile CpuDevice::profile() const {
  kernels::Profile sum;
  for (const auto& rank : state_->ranks) sum.add(rank->profile);
  return sum;
}

}  // namespace sluice::device
