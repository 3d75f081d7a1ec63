// Fork and join with a short spin before sleeping, so that kernels of tens of microseconds are
// worth splitting.
#include "kernels/cpu/thread_team.hpp"

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/base/check.hpp"
#include "kernels/cpu/work_shares.hpp"

namespace sluice::kernels {
namespace {

constexpr int kSpins = 2000;  // about 20-50 us: longer than a gap between two kernels of one task

// Waits until `word` differs from `old` and returns what it holds then.
std::uint32_t wait_change(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    const std::uint32_t now = word.load(std::memory_order_acquire);
    if (now != old) return now;
    __builtin_ia32_pause();
  }
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

}  // namespace

// Helpers come in by a gate, which the caller shuts when it finds nothing left to do: it waits for
// those inside, not for one that the system has not woken yet.
struct ThreadTeam::State {
  static constexpr std::uint32_t kShut = 1u << 31;

  const std::function<void(int)>* body = nullptr;  // while the gate is open or helpers are inside
  std::atomic<bool> stopping{false};
  alignas(64) std::atomic<std::uint32_t> generation{0};
  alignas(64) std::atomic<std::uint32_t> gate{kShut};  // kShut, and how many are inside
  std::vector<std::thread> helpers;

  // Also where not all helpers could be made.
  ~State() {
    stopping.store(true, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    for (std::thread& helper : helpers) helper.join();
  }

  bool enter() {
    std::uint32_t now = gate.load(std::memory_order_relaxed);
    while ((now & kShut) == 0) {
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acquire,
                                     std::memory_order_relaxed))
        return true;
    }
    return false;
  }

  void help(int thread) {
    std::uint32_t seen = 0;
    for (;;) {
      seen = wait_change(generation, seen);
      if (stopping.load(std::memory_order_relaxed)) return;
      if (!enter()) continue;
      (*body)(thread);
      if (gate.fetch_sub(1, std::memory_order_release) == kShut + 1) gate.notify_one();
    }
  }
};

ThreadTeam::ThreadTeam(int threads) : state_(std::make_unique<State>()) {
  SLUICE_CHECK_GE(threads, 1);
  for (int thread = 1; thread < threads; ++thread) {
    state_->helpers.emplace_back([state = state_.get(), thread] { state->help(thread); });
  }
}

ThreadTeam::~ThreadTeam() = default;

int ThreadTeam::threads() const { return static_cast<int>(state_->helpers.size()) + 1; }

void ThreadTeam::run(const std::function<void(int)>& body) {
  if (state_->helpers.empty()) return body(0);
  state_->body = &body;
  state_->gate.store(0, std::memory_order_release);
  state_->generation.fetch_add(1, std::memory_order_release);
  state_->generation.notify_all();
  body(0);
  std::uint32_t inside =
      state_->gate.fetch_or(State::kShut, std::memory_order_acquire) | State::kShut;
  while (inside != State::kShut) inside = wait_change(state_->gate, inside);
}

void ThreadTeam::parallel_for(std::int64_t count, std::int64_t grain,
                              const std::function<void(std::int64_t, std::int64_t)>& body) {
  SLUICE_CHECK_GE(grain, 1);
  if (count <= 0) return;
  if (threads() == 1 || count <= grain) return body(0, count);
  // About four pieces a thread: enough to even out a thread that was descheduled, few enough to
  // stay cheap.
  const std::int64_t piece = std::max(grain, (count + threads() * 4 - 1) / (threads() * 4));
  WorkShares shares((count + piece - 1) / piece, threads());
  const auto work = [&](int thread) {
    for (std::int64_t i = shares.take(thread); i >= 0; i = shares.take(thread)) {
      body(i * piece, std::min(count, (i + 1) * piece));
    }
  };
  run(std::ref(work));  // a reference: std::function then allocates nothing
}

}  // namespace sluice::kernels
