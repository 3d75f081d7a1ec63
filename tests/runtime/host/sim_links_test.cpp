// Transfers on shared ports, against cases computed by hand.
#include "runtime/host/sim_links.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/host/sim_host.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::host {
namespace {

using testing::ElementsAre;

// 16 ranks on two nodes; 40 bytes a ns between nodes, 160 within; latencies of 3.7 and 3.3 us.
ClusterLinks links() { return {16, 8, 160, 40, 3300, 3700}; }

class Links : public testing::Test {
 protected:
  SharedPorts::Transfer begin(std::int32_t from, std::int32_t to, std::int64_t bytes,
                              std::int64_t now_ns = 0) {
    return ports_.begin(links().route(from, to, bytes).uses, now_ns);
  }
  // Goes on to the next end.
  std::pair<std::int64_t, std::vector<SharedPorts::Transfer>> next() {
    const std::int64_t at = ports_.next_end_ns().value_or(-1);
    return {at, ports_.end(at)};
  }
  SharedPorts ports_{links().ports()};
};

TEST_F(Links, ATransferAloneTakesItsBytesOverTheBandwidth) {
  begin(0, 8, 40'000);
  EXPECT_EQ(next().first, 1000);
  begin(0, 7, 160'000, 1000);
  EXPECT_EQ(next().first, 2000);
  EXPECT_EQ(ports_.next_end_ns(), std::nullopt);
  EXPECT_EQ(links().route(0, 8, 1).latency_ns, 3700);
  EXPECT_EQ(links().route(0, 7, 1).latency_ns, 3300);
}

// Both leave by rank 0's NIC: 20 bytes a ns each until the shorter is through at 2000 ns, then the
// rest of the longer one, 40,000 bytes, alone.
TEST_F(Links, TwoTransfersShareANic) {
  const auto shorter = begin(0, 8, 40'000);
  const auto longer = begin(0, 9, 80'000);
  EXPECT_EQ(next(), std::pair(std::int64_t{2000}, std::vector{shorter}));
  EXPECT_EQ(next(), std::pair(std::int64_t{3000}, std::vector{longer}));
}

// The second begins when half of the first is through: 20,000 bytes left at 20 a ns.
TEST_F(Links, OneThatBeginsLaterSlowsWhatIsLeft) {
  const auto first = begin(0, 8, 40'000);
  const auto second = begin(1, 8, 40'000, 500);  // into the same NIC
  EXPECT_EQ(next(), std::pair(std::int64_t{1500}, std::vector{first}));
  EXPECT_EQ(next(), std::pair(std::int64_t{2000}, std::vector{second}));
}

TEST_F(Links, BothWaysAtOnceDoNotShare) {
  const auto there = begin(0, 8, 40'000);
  const auto back = begin(8, 0, 40'000);
  EXPECT_EQ(next(), std::pair(std::int64_t{1000}, (std::vector{there, back})));
}

TEST_F(Links, WithinANodeBesideBetweenNodesDoNotShare) {
  const auto within = begin(0, 1, 160'000);
  const auto between = begin(0, 8, 40'000);
  EXPECT_EQ(next(), std::pair(std::int64_t{1000}, (std::vector{within, between})));
}

// Rank 0 sends to 8, 9 and 10; rank 1 to 8: the shares of 0's port are a third, of 8's port a half;
// so 0 -> 8 goes at a third, and 1 -> 8 at its half, not at what 0 leaves.
TEST_F(Links, TheNarrowestShareSetsThePace) {
  const auto both = begin(0, 8, 40'000);
  begin(0, 9, 40'000);
  begin(0, 10, 40'000);
  const auto half = begin(1, 8, 40'000);
  EXPECT_EQ(next(), std::pair(std::int64_t{2000}, std::vector{half}));
  const auto [at, ended] = next();
  EXPECT_EQ(at, 3000);
  EXPECT_EQ(ended.size(), 3u);
  EXPECT_EQ(ended.front(), both);
}

TEST_F(Links, NothingToSendEndsAtOnce) {
  begin(0, 8, 0, 10);
  EXPECT_EQ(next().first, 10);
}

// Through the host: producer on rank 0, worker on rank 1, collector on rank 2, one node each. A row
// vector of 64 floats, 256 bytes, takes 64 ns at 4 bytes a ns, and 1000 ns of latency.
TEST(SimHostLinks, AMessageBetweenRanksTakesItsTransferAndTheLatency) {
  SimHost::Config config;
  config.run_bodies = false;
  config.task_model = [](const actors::Task&, std::int32_t) -> std::int64_t { return 10; };
  config.message_model = [](const actors::Message&, ActorIndex) -> std::int64_t { return 0; };
  config.links = {3, 1, 0, 4, 0, 1000};
  config.message_bytes = [](const actors::Message& message) -> std::int64_t {
    return std::holds_alternative<actors::Hidden>(message.body) ? 256 : 0;
  };
  SimHost host(config);
  toy::add_toy(host, {.credits = 4, .rows = 64});
  ASSERT_TRUE(host.start());
  toy::start_toy(host, 1);
  ASSERT_TRUE(host.receive());
  // Three tasks; the channels are on rank 0: 0 -> 0 -> 1 -> 0 -> 2 crosses links three times.
  EXPECT_NEAR(static_cast<double>(host.now_ns()), 3 * 10 + 3 * (64 + 1000), 10);
}

}  // namespace
}  // namespace sluice::host
