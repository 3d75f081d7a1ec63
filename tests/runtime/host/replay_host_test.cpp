// The toy actors recorded and run again: alone, with others' messages from the log, and when they
// no longer do what they did.
#include "runtime/host/replay_host.hpp"

#include <gtest/gtest.h>

#include "runtime/host/sim_host.hpp"
#include "runtime/trace/recorder.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::host {
namespace {

using actors::Message;
using graph::ActorKind;

class ReplayHostTest : public testing::Test {
 protected:
  ReplayHostTest() {
    const std::pair<ActorKind, const char*> names[] = {{ActorKind::kSource, "producer"},
                                                       {ActorKind::kStage, "worker"},
                                                       {ActorKind::kSink, "collector"},
                                                       {ActorKind::kChannel, "first channel"},
                                                       {ActorKind::kChannel, "second channel"}};
    for (const auto& [kind, name] : names) recording_.actors.push_back({kind, name, 0});
  }

  void record(trace::Payloads payloads, std::uint64_t seed = 1) {
    recording_.payloads = payloads;
    trace::Recorder recorder;
    ASSERT_TRUE(recorder.begin(folder_.path(), recording_));
    SimHost::Config config;
    config.seed = seed;
    config.compute = compute();
    config.observer = &recorder;
    SimHost host(config);
    toy::add_toy(host, {});
    ASSERT_TRUE(host.start());
    toy::start_toy(host, 6);
    ASSERT_TRUE(host.receive());
    ASSERT_TRUE(host.run_until_quiet());
    ASSERT_TRUE(recorder.end());
  }

  kernels::ComputeContext compute() {
    return {kernels::Isa::kReference, {}, &team_, &heap_allocator(), nullptr};
  }

  struct Ran {
    Result<ReplayHost::End> end = ReplayHost::End::kLogEnded;
    std::optional<trace::Difference> difference;
    ReplayHost::Progress progress;
  };
  // With the actors that `add` makes.
  template <class F>
  Ran replay(F&& add, const ReplayHost::Watch& watch = {}) {
    auto log = trace::LogReader::open(folder_.path());
    EXPECT_TRUE(log && trace::read_recording(*log));
    auto elements = trace::Elements::open(log->path());
    ReplayHost host({&recording_, compute()});
    add(host);
    Ran out;
    out.end = host.run(*log, *elements, watch);
    out.difference = host.difference();
    out.progress = host.progress();
    return out;
  }

  trace::Recording recording_;
  test::TemporaryFolder folder_;
  kernels::ThreadTeam team_{1};
};

TEST_F(ReplayHostTest, EveryOrderIsRunAgain) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    record(trace::Payloads::kNone, seed);
    const Ran ran = replay([](ReplayHost& host) { toy::add_toy(host, {}); });
    ASSERT_TRUE(ran.end) << ran.end.error().message;
    EXPECT_EQ(*ran.end, ReplayHost::End::kLogEnded)
        << to_string(*ran.difference, "recorded", "replayed");
    EXPECT_EQ(ran.progress.tasks, 18);
    EXPECT_EQ(ran.progress.tensors, 12);
  }
}

void add_worker(ReplayHost& host) {
  host.add(toy::kWorker, {}, std::make_unique<toy::Worker>(toy::Sizes{}));
}

TEST_F(ReplayHostTest, OneActorAloneOnTheOthersMessages) {
  record(trace::Payloads::kAll);
  const Ran ran = replay([](ReplayHost& host) {
    add_worker(host);
    host.add(toy::kFirstChannel, {},
             std::make_unique<actors::Channel>(
                 actors::Channel::Config{toy::kFirstChannel, toy::kProducer, toy::kWorker, 2}));
  });
  ASSERT_TRUE(ran.end) << ran.end.error().message;
  EXPECT_EQ(*ran.end, ReplayHost::End::kLogEnded);
  EXPECT_EQ(ran.progress.tasks, 6);
}

TEST_F(ReplayHostTest, WithoutElementsItSaysWhoseAreMissing) {
  record(trace::Payloads::kNone);
  const Ran ran = replay([](ReplayHost& host) {
    host.add(toy::kFirstChannel, {},
             std::make_unique<actors::Channel>(
                 actors::Channel::Config{toy::kFirstChannel, toy::kProducer, toy::kWorker, 2}));
  });
  ASSERT_FALSE(ran.end);
  EXPECT_NE(ran.end.error().message.find("producer: activation"), std::string::npos)
      << ran.end.error().message;
}

// An actor that is not what it was: its rows have another size, it tells the outside more, or less.
TEST_F(ReplayHostTest, AnActorThatDoesOtherwiseIsNamed) {
  record(trace::Payloads::kAll);
  const auto with_producer = [](auto make) {
    return [make](ReplayHost& host) { host.add(toy::kProducer, {}, make()); };
  };
  const Ran wide = replay(with_producer(
      [] { return std::make_unique<toy::Producer>(toy::Sizes{.credits = 2, .rows = 65}); }));
  ASSERT_TRUE(wide.difference);
  EXPECT_EQ(wide.difference->actor, "producer");
  EXPECT_EQ(wide.difference->message, "activation of step 0, micro-batch 0, layer 0");
  EXPECT_EQ(wide.difference->field, "rows");
  EXPECT_EQ(wide.difference->here, "F32 [64]");

  // Waits for a credit that was not needed.
  const Ran lazy = replay(with_producer(
      [] { return std::make_unique<toy::Producer>(toy::Sizes{.credits = 1, .rows = 64}); }));
  ASSERT_TRUE(lazy.difference);
  EXPECT_EQ(lazy.difference->actor, "producer");
  EXPECT_EQ(lazy.difference->there, "not sent");

  struct Silent final : actors::Actor {
    void on_message(actors::Context&, Message) override {}
    [[nodiscard]] bool idle() const override { return true; }
  };
  const Ran silent = replay(with_producer([] { return std::make_unique<Silent>(); }));
  ASSERT_TRUE(silent.difference);
  EXPECT_EQ(silent.difference->here, "produce");
  EXPECT_EQ(silent.difference->there, "not submitted");

  struct Talker final : actors::Actor {
    void on_message(actors::Context& context, Message) override {
      context.send(graph::kOutside, Message{.body = actors::Idle{}});
    }
    [[nodiscard]] bool idle() const override { return true; }
  };
  const Ran talker = replay(
      [](ReplayHost& host) { host.add(toy::kSecondChannel, {}, std::make_unique<Talker>()); });
  ASSERT_TRUE(talker.difference);
  EXPECT_EQ(talker.difference->actor, "second channel");
}

TEST_F(ReplayHostTest, StopsBeforeADeliveryAndGoesOn) {
  record(trace::Payloads::kAll);
  auto log = trace::LogReader::open(folder_.path());
  ASSERT_TRUE(log && trace::read_recording(*log));
  auto elements = trace::Elements::open(log->path());
  ReplayHost host({&recording_, compute()});
  toy::add_toy(host, {});
  std::int64_t at_stop = -1;
  const auto watch = [&](ActorIndex to, const trace::Delivered& delivered, const Message& message) {
    if (to != toy::kWorker || delivered.key.micro_batch != 3 || delivered.from != "producer")
      return true;
    EXPECT_EQ(std::get<actors::Hidden>(message.body).rows.values<float>()[0], 3.0f);
    EXPECT_EQ(delivered.what, "activation");
    return false;
  };
  ASSERT_EQ(host.run(*log, *elements, watch).value(), ReplayHost::End::kStopped);
  at_stop = host.progress().deliveries;
  ASSERT_EQ(host.run(*log, *elements, {}).value(), ReplayHost::End::kLogEnded);
  EXPECT_GT(host.progress().deliveries, at_stop + 5);
}

}  // namespace
}  // namespace sluice::host
