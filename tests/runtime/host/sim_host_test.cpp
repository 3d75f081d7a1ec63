// Virtual time: any order gives the same result, the same seed the same run, and credits bound what
// waits.
#include "runtime/host/sim_host.hpp"

#include <gtest/gtest.h>

#include <set>

#include "runtime/device/pool_allocator.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::host {
namespace {

using actors::Message;

class SimHostTest : public testing::Test {
 protected:
  SimHost::Config config(std::uint64_t seed) {
    return {.seed = seed,
            .message_model = {},
            .task_model = {},
            .compute = {kernels::Isa::kReference, {}, &team_, &allocator_, nullptr}};
  }

  kernels::ThreadTeam team_{1};
  device::PoolAllocator allocator_;
};

double run_toy(SimHost& host, toy::Sizes sizes, std::int32_t micro_batches) {
  toy::add_toy(host, sizes);
  EXPECT_TRUE(host.start());
  toy::start_toy(host, micro_batches);
  const Result<Message> report = host.receive();
  EXPECT_TRUE(report) << report.error().message;
  EXPECT_TRUE(host.run_until_quiet());
  return report ? std::get<actors::LossPart>(report->body).main : -1;
}

TEST_F(SimHostTest, EveryOrderGivesTheSameSum) {
  const toy::Sizes sizes{.credits = 2, .rows = 16};
  std::set<std::uint64_t> traces;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimHost host(config(seed));
    EXPECT_EQ(run_toy(host, sizes, 7), toy::toy_sum(sizes, 7)) << "seed " << seed;
    traces.insert(host.trace_digest());
  }
  EXPECT_EQ(traces.size(), 200U);  // and the orders do differ
}

TEST_F(SimHostTest, OneSeedIsOneRun) {
  SimHost first(config(11));
  SimHost second(config(11));
  run_toy(first, {}, 9);
  run_toy(second, {}, 9);
  EXPECT_EQ(first.trace_digest(), second.trace_digest());
  EXPECT_EQ(first.now_ns(), second.now_ns());
}

TEST_F(SimHostTest, ASlowConsumerIsWaitedForAtThePlansMemory) {
  const toy::Sizes sizes{.credits = 3, .rows = 1 << 16};
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    SimHost::Config slow = config(seed);
    slow.task_model = [](const actors::Task& task, std::int32_t) -> std::int64_t {
      return std::string_view(task.name) == "collect" ? 10'000'000 : 1'000;
    };
    allocator_.reset_peak();
    SimHost host(std::move(slow));
    run_toy(host, sizes, 40);
    // Two channels at full credit; one tensor held by the producer, two by the worker, one by the
    // collector. Without credits it would be about 40.
    const std::int64_t bytes = 2 * sizes.credits + 1 + 2 + 1;
    const auto peak = allocator_.statistics().bytes_in_use_peak / (sizes.rows * 4);
    EXPECT_LE(peak, bytes);
    EXPECT_GE(peak, 2 * sizes.credits);  // the credits are used, too
    EXPECT_LE(host.actor(toy::kCollector).waiting_bytes_max, sizes.credits * sizes.rows * 4);
  }
  EXPECT_EQ(allocator_.statistics().bytes_in_use, 0);
}

TEST_F(SimHostTest, LanesCountBusyAndIdleTime) {
  SimHost::Config fixed = config(0);
  fixed.task_model = [](const actors::Task&, std::int32_t rank) { return (rank + 1) * 1'000; };
  fixed.message_model = [](const Message&, ActorIndex) { return 10; };
  SimHost host(std::move(fixed));
  run_toy(host, {}, 5);
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(host.lane(rank).tasks, 5);
    EXPECT_EQ(host.lane(rank).busy_ns, 5 * (rank + 1) * 1'000);
    EXPECT_GT(host.lane(rank).idle_ns, 0);
  }
  EXPECT_EQ(host.lane(0, actors::Lane::kStorage).tasks, 0);
}

// Sends 20 numbered messages to each of two listeners.
class Talker final : public actors::Actor {
 public:
  void on_message(actors::Context& context, Message) override {
    for (std::int32_t i = 0; i < 20; ++i) {
      for (const ActorIndex to : {1, 2}) {
        context.send(to, Message{.key = {.micro_batch = i}, .body = actors::OwnerDone{}});
      }
    }
  }
  [[nodiscard]] bool idle() const override { return true; }
};

class Listener final : public actors::Actor {
 public:
  explicit Listener(std::vector<std::int32_t>* heard) : heard_(heard) {}
  void on_message(actors::Context&, Message message) override {
    heard_->push_back(message.key.micro_batch);
  }
  [[nodiscard]] bool idle() const override { return true; }

 private:
  std::vector<std::int32_t>* heard_;
};

TEST_F(SimHostTest, MessagesOfOnePairStayInOrder) {
  std::vector<std::int32_t> first, second;
  SimHost host(config(3));
  host.add(0, {}, std::make_unique<Talker>());
  host.add(1, {}, std::make_unique<Listener>(&first));
  host.add(2, {}, std::make_unique<Listener>(&second));
  ASSERT_TRUE(host.start());
  host.send(0, Message{});
  ASSERT_TRUE(host.run_until_quiet());
  std::vector<std::int32_t> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(first, expected);
  EXPECT_EQ(second, expected);
  EXPECT_EQ(host.actor(1).messages, 20);
  EXPECT_GT(host.actor(1).waiting_max, 1);
}

// Submits tasks of several priorities at once and reports the order of their ends.
class Submitter final : public actors::Actor {
 public:
  explicit Submitter(std::vector<std::uint64_t>* order) : order_(order) {}
  void on_message(actors::Context& context, Message message) override {
    if (std::holds_alternative<actors::TimerFired>(message.body)) {
      return context.send(actors::kOutside, std::move(message));
    }
    if (std::holds_alternative<actors::TaskDone>(message.body)) return;
    const std::int32_t priorities[] = {5, 1, 9, 1, 0};  // the first finds the lane free
    for (std::uint64_t id = 0; id < 5; ++id) {
      context.submit(
          {.id = id,
           .name = "t",
           .priority = priorities[id],
           .body = [this, id](const kernels::ComputeContext&) { order_->push_back(id); }});
    }
    context.set_timer(2.5, 42);
  }
  [[nodiscard]] bool idle() const override { return true; }

 private:
  std::vector<std::uint64_t>* order_;
};

TEST_F(SimHostTest, ALaneRunsByPriorityThenBySubmission) {
  std::vector<std::uint64_t> order;
  SimHost host(config(5));
  host.add(0, {}, std::make_unique<Submitter>(&order));
  ASSERT_TRUE(host.start());
  host.send(0, Message{});
  const Result<Message> timer = host.receive();
  ASSERT_TRUE(timer);
  EXPECT_EQ(std::get<actors::TimerFired>(timer->body).timer, 42U);
  EXPECT_GE(host.now_ns(), 2'500'000'000);
  EXPECT_EQ(order, (std::vector<std::uint64_t>{0, 4, 1, 3, 2}));
}

TEST_F(SimHostTest, QuietWithoutAnAnswerIsAnErrorThatNamesWhoWaits) {
  SimHost host(config(0));
  toy::add_toy(host, {});
  ASSERT_TRUE(host.start());
  host.send(toy::kCollector, Message{.body = actors::StepStart{.micro_batches = 1}});
  const Result<Message> nothing = host.receive();
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("still waiting: collector"), std::string::npos)
      << nothing.error().message;
}

TEST_F(SimHostTest, ReceiveForStopsAtItsTime) {
  std::vector<std::uint64_t> order;
  SimHost host(config(5));
  host.add(0, {}, std::make_unique<Submitter>(&order));
  ASSERT_TRUE(host.start());
  host.send(0, Message{});
  const auto early = host.receive_for(std::chrono::seconds(1));
  ASSERT_TRUE(early);
  EXPECT_FALSE(early->has_value());
  EXPECT_EQ(host.now_ns(), 1'000'000'000);
}

TEST_F(SimHostTest, StopsWithTasksAndMessagesUnderWay) {
  for (int events = 0; events < 60; ++events) {
    SimHost host(config(1));
    toy::add_toy(host, {});
    ASSERT_TRUE(host.start());
    toy::start_toy(host, 5);
    int left = events;
    ASSERT_TRUE(host.run_until([&left] { return left-- == 0; }));
    ASSERT_TRUE(host.stop());
    EXPECT_EQ(allocator_.statistics().bytes_in_use, 0) << "after " << events << " events";
  }
}

}  // namespace
}  // namespace sluice::host
