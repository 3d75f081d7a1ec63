// Bad links, slow devices and dead workers in virtual time: actors see each message once and in
// order, and a dead worker is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "runtime/device/pool_allocator.hpp"
#include "runtime/host/sim_host.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::host {
namespace {

using actors::Message;
using ::testing::HasSubstr;

constexpr toy::Sizes kSizes{.credits = 2, .rows = 16};
constexpr std::int32_t kMicroBatches = 12;

class SimFaults : public testing::Test {
 protected:
  SimHost::Config config(std::uint64_t seed, Faults faults) {
    SimHost::Config config;
    config.seed = seed;
    config.compute = {kernels::Isa::kReference, {}, &team_, &allocator_, nullptr};
    config.faults = std::move(faults);
    return config;
  }
  static Result<double> run(SimHost& host) {
    toy::add_toy(host, kSizes);
    SLUICE_TRY(host.start());
    toy::start_toy(host, kMicroBatches);
    SLUICE_ASSIGN(const Message report, host.receive());
    return std::get<actors::LossPart>(report.body).main;
  }

  kernels::ThreadTeam team_{1};
  device::PoolAllocator allocator_;
};

Faults bad_links() {
  Faults faults;
  faults.lost = 0.4;
  faults.duplicated = 0.4;
  faults.late = 0.4;
  faults.late_ns_max = 10'000'000;
  faults.stream.attempts_max = 100;
  return faults;
}

TEST_F(SimFaults, BadLinksChangeTheEventsAndNotTheResult) {
  std::set<std::uint64_t> traces;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SimHost host(config(seed, bad_links()));
    const auto sum = run(host);
    ASSERT_TRUE(sum) << sum.error().message;
    EXPECT_EQ(*sum, toy::toy_sum(kSizes, kMicroBatches)) << "seed " << seed;
    traces.insert(host.trace_digest());
  }
  EXPECT_EQ(traces.size(), 100u);
  EXPECT_EQ(allocator_.statistics().bytes_in_use, 0);
}

TEST_F(SimFaults, OneSeedIsOneRun) {
  SimHost first(config(3, bad_links()));
  SimHost second(config(3, bad_links()));
  ASSERT_TRUE(run(first));
  ASSERT_TRUE(run(second));
  EXPECT_EQ(first.trace_digest(), second.trace_digest());
  EXPECT_EQ(first.next_random(), second.next_random());
}

// What a sender says to a receiver comes in its order, even if some of it is held back.
class OrderObserver final : public Observer {
 public:
  void on_send(actors::ActorIndex from, actors::ActorIndex to, const Message& message,
               std::int64_t) override {
    sent_[{from, to}].push_back(message.key.micro_batch);
  }
  void on_delivery(actors::ActorIndex to, const Message& message, std::int64_t) override {
    const actors::ActorIndex from = handed_over_by(message);
    if (from != graph::kNoActor) delivered_[{from, to}].push_back(message.key.micro_batch);
  }
  void on_task(actors::ActorIndex, const actors::Task&, TaskTimes) override {}

  using ByPair =
      std::map<std::pair<actors::ActorIndex, actors::ActorIndex>, std::vector<std::int32_t>>;
  ByPair sent_, delivered_;
};

TEST_F(SimFaults, OrderIsKeptPerChannel) {
  OrderObserver observer;
  SimHost::Config with = config(7, bad_links());
  with.observer = &observer;
  SimHost host(std::move(with));
  ASSERT_TRUE(run(host));
  ASSERT_TRUE(host.run_until_quiet());
  using toy::kFirstChannel, toy::kProducer, toy::kWorker;
  const auto& got = observer.delivered_[{kFirstChannel, kWorker}];
  EXPECT_EQ(got.size(), static_cast<std::size_t>(kMicroBatches));
  EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
  EXPECT_EQ(got, (observer.sent_[{kFirstChannel, kWorker}]));
}

TEST_F(SimFaults, ADeadWorkerIsNamed) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Faults faults;
    faults.dead_worker = {1, static_cast<std::int64_t>(seed) * 100'000, 50'000'000};
    SimHost host(config(seed, faults));
    const auto sum = run(host);
    ASSERT_FALSE(sum) << "the worker does nothing after " << seed * 100 << " us";
    EXPECT_EQ(sum.error().kind, ErrorKind::kFailed);
    EXPECT_THAT(sum.error().message, HasSubstr("the worker of rank 1 (worker) is lost"));
    EXPECT_THAT(sum.error().message, HasSubstr("go on from the last checkpoint"));
    ASSERT_TRUE(host.stop());
    EXPECT_EQ(allocator_.statistics().bytes_in_use, 0);
  }
}

TEST_F(SimFaults, ASenderFindsOutBeforeTheSilenceDoes) {
  Faults faults;
  faults.stream = {.timeout_ns = 100'000, .timeout_ns_max = 100'000, .attempts_max = 3};
  faults.dead_worker = {1, 0, 3'600'000'000'000};
  SimHost host(config(0, faults));
  ASSERT_FALSE(run(host));
  EXPECT_LT(host.now_ns(), 100'000'000) << "not an hour";
}

TEST_F(SimFaults, ASlowDeviceTakesLongerWhileItIsSlow) {
  const auto worker_ns = [&](double factor, std::int64_t until_ns) {
    Faults faults;
    faults.slow_devices.push_back({1, factor, 0, until_ns});
    SimHost::Config slow = config(0, faults);
    slow.task = {1'000'000, 1'000'000};
    SimHost host(std::move(slow));
    EXPECT_TRUE(run(host));
    return host.lane(1).busy_ns;
  };
  EXPECT_EQ(worker_ns(1, INT64_MAX), kMicroBatches * 1'000'000);
  EXPECT_EQ(worker_ns(7, INT64_MAX), kMicroBatches * 7'000'000);
  const std::int64_t some = worker_ns(7, 20'000'000);
  EXPECT_GT(some, kMicroBatches * 1'000'000);
  EXPECT_LT(some, kMicroBatches * 7'000'000);
}

}  // namespace
}  // namespace sluice::host
