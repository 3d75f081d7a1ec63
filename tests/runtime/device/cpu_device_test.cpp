// Lanes: order, completion exactly once and never inline, and time that adds up.
#include "runtime/device/cpu_device.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <latch>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cpu/profile.hpp"

namespace sluice::device {
namespace {

using actors::Lane;
using actors::Task;
using kernels::ComputeContext;
using std::chrono::milliseconds;

TEST(CpuDevice, RunsByPriorityThenBySubmission) {
  std::vector<int> order;
  {
    CpuDevice device({});
    std::latch all_queued(1);
    device.submit({.name = "first", .body = [&](const ComputeContext&) { all_queued.wait(); }},
                  [] {});
    const std::int32_t priorities[] = {5, 1, 9, 1, 0};
    for (int i = 0; i < 5; ++i) {
      device.submit({.priority = priorities[i],
                     .body = [&order, i](const ComputeContext&) { order.push_back(i); }},
                    [] {});
    }
    all_queued.count_down();
  }  // waits
  EXPECT_EQ(order, (std::vector<int>{4, 1, 3, 0, 2}));
}

TEST(CpuDevice, CompletionComesOnceAndNeverInline) {
  std::atomic<int> completions{0};
  std::mutex held_by_the_caller;
  {
    CpuDevice device({.threads = 2});
    for (int i = 0; i < 200; ++i) {
      // Were `done` called inside submit, this thread would wait for itself.
      const std::lock_guard lock(held_by_the_caller);
      device.submit({.lane = i % 2 == 0 ? Lane::kCompute : Lane::kStorage,
                     .body = [](const ComputeContext&) {}},
                    [&] {
                      const std::lock_guard inner(held_by_the_caller);
                      ++completions;
                    });
    }
  }
  EXPECT_EQ(completions, 200);
}

TEST(CpuDevice, TheBodyIsGoneWhenItIsDone) {
  const auto token = std::make_shared<int>(0);
  std::atomic<long> uses{-1};
  {
    CpuDevice device({});
    device.submit({.body = [copy = token](const ComputeContext&) {}},
                  [&, raw = &token] { uses = raw->use_count(); });
  }
  EXPECT_EQ(uses, 1);
}

TEST(CpuDevice, BodiesGetTheTeamAndThePool) {
  CpuDevice device({.threads = 2, .isa = kernels::best_isa(), .profile = true});
  std::latch done(1);
  std::atomic<std::int64_t> sum{0};
  device.submit({.body =
                     [&](const ComputeContext& context) {
                       const kernels::ProfileScope scope(context, "count", 5);
                       EXPECT_EQ(context.team->threads(), 2);
                       EXPECT_EQ(context.isa, kernels::best_isa());
                       const Tensor scratch = context.make(DType::kF32, {1000});
                       context.team->parallel_for(
                           1000, 10, [&](auto first, auto last) { sum += last - first; });
                     }},
                [&] { done.count_down(); });
  done.wait();
  EXPECT_EQ(sum, 1000);
  EXPECT_EQ(device.allocator().statistics().blocks, 1);
  EXPECT_EQ(device.profile().entries().at("count").calls, 1);
}

TEST(CpuDevice, TheStorageLaneRunsBesideTheComputeLane) {
  CpuDevice device({});
  std::latch stored(1), done(2);
  device.submit({.body = [&](const ComputeContext&) { stored.wait(); }},
                [&] { done.count_down(); });
  device.submit(
      {.lane = Lane::kStorage, .body = [&](const ComputeContext&) { stored.count_down(); }},
      [&] { done.count_down(); });
  done.wait();
  EXPECT_EQ(device.statistics(Lane::kStorage).tasks, 1);
}

TEST(CpuDevice, BusyAndIdleTimeAddUp) {
  CpuDevice device({});
  const auto start = std::chrono::steady_clock::now();
  device.reset_statistics();
  std::this_thread::sleep_for(milliseconds(20));
  std::latch done(1);
  device.submit(
      {.body = [](const ComputeContext&) { std::this_thread::sleep_for(milliseconds(30)); }},
      [&] { done.count_down(); });
  done.wait();
  const auto statistics = device.statistics(Lane::kCompute);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(statistics.tasks, 1);
  EXPECT_GE(statistics.busy_seconds, 0.03);
  EXPECT_GE(statistics.idle_seconds, 0.02);
  EXPECT_LE(statistics.busy_seconds + statistics.idle_seconds, whole.count());
}

// Each task waits for the other, so neither would end on a lane that both share.
TEST(CpuDevice, EveryRankHasLanesOfItsOwn) {
  CpuDevice device({.ranks = 2});
  std::barrier both(2);
  std::latch done(2);
  const auto meet = [&both](const kernels::ComputeContext&) { both.arrive_and_wait(); };
  for (std::int32_t rank = 0; rank < 2; ++rank)
    device.of_rank(rank).submit({.name = "meet", .body = meet}, [&done] { done.count_down(); });
  done.wait();
  EXPECT_EQ(device.statistics(actors::Lane::kCompute).tasks, 2);
  EXPECT_NE(&device.of_rank(0), &device.of_rank(1));
  CpuDevice shared({});
  EXPECT_EQ(&shared.of_rank(0), &shared.of_rank(7));
}

}  // namespace
}  // namespace sluice::device
