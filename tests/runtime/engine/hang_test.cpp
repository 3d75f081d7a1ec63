// Runs that come to a stand, in virtual time and live: the cause is named first, then who waits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "actors/channel.hpp"
#include "actors/wait_graph.hpp"
#include "runtime/host/caf_host.hpp"
#include "tests/runtime/engine/training_support.hpp"

namespace sluice::engine {
namespace {

using actors::Message;
using actors::Topic;
using graph::ActorIndex;
using testing::HasSubstr;
using testing::StartsWith;

// Sees every message that an actor hands over; false loses it.
using Passes = std::function<bool(ActorIndex from, ActorIndex to, const Message& message)>;

class Watched final : public actors::Actor {
 public:
  Watched(std::unique_ptr<actors::Actor> inner, ActorIndex self, const Passes& passes)
      : inner_(std::move(inner)), self_(self), passes_(passes) {}
  void on_message(actors::Context& context, Message message) override {
    Gate gate(context, *this);
    inner_->on_message(gate, std::move(message));
  }
  [[nodiscard]] bool idle() const override { return inner_->idle(); }
  [[nodiscard]] actors::Waiting waiting() const override { return inner_->waiting(); }

 private:
  class Gate final : public actors::Context {
   public:
    Gate(actors::Context& outer, Watched& self) : outer_(outer), self_(self) {}
    void send(ActorIndex to, Message message) override {
      if (self_.passes_(self_.self_, to, message)) outer_.send(to, std::move(message));
    }
    void submit(actors::Task task) override { outer_.submit(std::move(task)); }
    void set_timer(double seconds, std::uint64_t timer) override {
      outer_.set_timer(seconds, timer);
    }

   private:
    actors::Context& outer_;
    Watched& self_;
  };

  std::unique_ptr<actors::Actor> inner_;
  ActorIndex self_;
  const Passes& passes_;
};

// Any host, with what passes between its actors watched.
template <class Inner>
class WatchingHost final : public host::Host {
 public:
  template <class Config>
  WatchingHost(Config config, Passes passes)
      : inner_(std::move(config)), passes_(std::move(passes)) {}
  Inner& inner() { return inner_; }
  void add(ActorIndex index, const graph::ActorPlan& place,
           std::unique_ptr<actors::Actor> actor) override {
    inner_.add(index, place, std::make_unique<Watched>(std::move(actor), index, passes_));
  }
  Status start() override { return inner_.start(); }
  void send(ActorIndex to, Message message) override { inner_.send(to, std::move(message)); }
  Result<std::optional<Message>> receive_for(std::chrono::nanoseconds wait_max) override {
    return inner_.receive_for(wait_max);
  }
  Activity activity() const override { return inner_.activity(); }
  bool is_quiet() const override { return inner_.is_quiet(); }
  std::vector<std::optional<actors::Waiting>> waiting(std::chrono::nanoseconds max) override {
    return inner_.waiting(max);
  }
  Status stop() override { return inner_.stop(); }

 private:
  Inner inner_;
  Passes passes_;
};

using Simulated = WatchingHost<host::SimHost>;
using Live = WatchingHost<host::CafHost>;

ClusterOptions spread_training(RandomReader& reader) {
  ClusterOptions options = small_training(reader);
  options.plan.pipeline_parallel_size = 2;
  options.plan.expert_parallel_size = 2;
  options.device.isa = kernels::Isa::kReference;
  return options;
}

// The n-th message (from 0) for which `is_it` holds is lost.
Passes losing(int n, std::function<bool(ActorIndex from, ActorIndex to, const Message&)> is_it) {
  return [n, is_it = std::move(is_it)](ActorIndex from, ActorIndex to,
                                       const Message& message) mutable {
    return !is_it(from, to, message) || n-- != 0;
  };
}

class Hang : public testing::Test {
 protected:
  Hang() : plan_(plan_of(spread_training(reader_)).value()) {}

  ActorIndex actor(std::string_view name) const {
    for (std::size_t i = 0; i < plan_.actors.size(); ++i)
      if (plan_.actors[i].name == name) return static_cast<ActorIndex>(i);
    ADD_FAILURE() << "no " << name;
    return graph::kNoActor;
  }

  // Trains in virtual time until it stands still; what is said then.
  std::string stand(Passes passes, std::uint64_t seed, std::string_view killed = "") {
    ClusterOptions options = spread_training(reader_);
    Simulated* host = nullptr;
    options.host = [&](device::CpuDevice& device) {
      host::SimHost::Config config;
      config.seed = seed;
      config.compute = device.context();
      auto made = std::make_unique<Simulated>(std::move(config), std::move(passes));
      host = made.get();
      return made;
    };
    auto cluster = start_training(options);
    EXPECT_TRUE(cluster);
    if (!killed.empty()) host->inner().kill(actor(killed));
    const auto reports = run_steps(**cluster, 0, 3);
    EXPECT_FALSE(reports) << "it went through";
    return reports ? "" : reports.error().message;
  }

  RandomReader reader_{small_model().vocab_size};
  graph::Plan plan_;
};

TEST_F(Hang, NamesALostMessage) {
  const ActorIndex experts = actor("experts 1.0");
  const ActorIndex channel = actor("channel experts 1.0 -> stage 1: combine");
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const auto is_combine = [](const Message& m) { return m.key.topic == Topic::kCombine; };
    const std::string before =
        stand(losing(5, [&](ActorIndex from, ActorIndex,
                            const Message& m) { return from == experts && is_combine(m); }),
              seed);
    EXPECT_THAT(before, HasSubstr("; combine of step 1, micro-batch "));
    EXPECT_THAT(before, HasSubstr("was lost between experts 1.0 and channel experts 1.0 -> stage "
                                  "1: combine"));
    EXPECT_THAT(before, HasSubstr("\n  stage 1 waits for combine of step 1, micro-batch "));
    EXPECT_THAT(before, HasSubstr("\n  supervisor waits for owner done of step 1 from stage "));
    const std::string after =
        stand(losing(5, [&](ActorIndex from, ActorIndex,
                            const Message& m) { return from == channel && is_combine(m); }),
              seed);
    EXPECT_THAT(after, HasSubstr("was lost between channel experts 1.0 -> stage 1: combine and "
                                 "stage 1\n"));
  }
}

TEST_F(Hang, NamesALostDirectMessage) {
  const std::string said =
      stand(losing(1, [](ActorIndex, ActorIndex,
                         const Message& m) { return m.key.topic == Topic::kSquares; }),
            1);
  EXPECT_THAT(said, HasSubstr("; squares of step 1 was lost between experts 1.1 and reducer\n"));
  EXPECT_THAT(said, HasSubstr("reducer waits for squares of step 1 from experts 1.1"));
}

TEST_F(Hang, NamesALeakOfCredits) {
  const ActorIndex stage = actor("stage 1");
  const ActorIndex channel = actor("channel stage 0 -> stage 1: activation");
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const std::string said = stand(
        [&](ActorIndex from, ActorIndex to, const Message&) {
          return from != stage || to != channel;  // none of its credits comes back
        },
        seed);
    EXPECT_THAT(said,
                HasSubstr("2 of 2 credits were lost between stage 1 and channel stage 0 -> stage "
                          "1: activation"));
    EXPECT_THAT(said, HasSubstr("stage 0 waits for a credit of channel stage 0 -> stage 1"));
  }
}

TEST_F(Hang, NamesADeadExpertGroup) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto all = [](ActorIndex, ActorIndex, const Message&) { return true; };
    const std::string said = stand(all, seed, "experts 0.1");
    EXPECT_THAT(said, HasSubstr("; experts 0.1 does not answer"));
    EXPECT_THAT(said, HasSubstr("\n  stage 0 waits for combine of step 1, micro-batch 0, layer 1 "
                                "from experts 0.1\n"));
    EXPECT_THAT(said, HasSubstr("stage 1 waits for activation of step 1, micro-batch 0"));
  }
}

// Two actors that each send twice before they take anything, over windows of one.
class Stubborn final : public actors::FlowActor {
 public:
  Stubborn(ActorIndex self, ActorIndex out) : FlowActor(self), out_(out) { open_channel(out, 1); }

 private:
  void on_control(Message) override { talk(); }
  actors::Flow talk() {
    for (std::int32_t m = 0; m < 2; ++m) {
      Message message = make_message({1, m, 0, Topic::kActivation, 0}, actors::Hidden{Tensor(), 0});
      co_await send(out_, message);
    }
    const actors::Key key{1, 0, 0, Topic::kActivation, 0};
    co_await receive(key);
  }
  ActorIndex out_;
};

graph::Plan plan_of_two() {
  using graph::ActorKind;
  graph::Plan plan;
  plan.actors = {{ActorKind::kStage, "left", 0},
                 {ActorKind::kStage, "right", 0},
                 {ActorKind::kChannel, "there", 0},
                 {ActorKind::kChannel, "back", 0}};
  plan.channels.resize(2);
  plan.channels[0].actor = 2, plan.channels[0].from = 0, plan.channels[0].to = 1;
  plan.channels[1].actor = 3, plan.channels[1].from = 1, plan.channels[1].to = 0;
  return plan;
}

void begin_two(host::Host& host, const graph::Plan& plan) {
  host.add(0, plan.actors[0], std::make_unique<Stubborn>(0, 2));
  host.add(1, plan.actors[1], std::make_unique<Stubborn>(1, 3));
  for (const graph::ChannelPlan& c : plan.channels) {
    host.add(c.actor, plan.actors[static_cast<std::size_t>(c.actor)],
             std::make_unique<actors::Channel>(actors::Channel::Config{c.actor, c.from, c.to, 1}));
  }
  ASSERT_TRUE(host.start());
  for (const ActorIndex actor : {0, 1}) host.send(actor, Message{.body = actors::StepStart{}});
}

constexpr std::string_view kCircle =
    "actors wait for each other in a circle: left waits for a credit of there: right has not taken "
    "activation of step 1, micro-batch 0, layer 0, and right waits for a credit of back: left has "
    "not taken activation of step 1, micro-batch 0, layer 0";

TEST(HangOfTwo, NamesACircle) {
  const graph::Plan plan = plan_of_two();
  host::SimHost host({});
  begin_two(host, plan);
  ASSERT_TRUE(host.run_until_quiet());
  const auto found = actors::explain_hang(plan, host.waiting({}));
  EXPECT_EQ(found.cause, kCircle);
  EXPECT_EQ(found.waits.size(), 2U);
}

TEST(HangOfTwo, NamesACircleLive) {
  const graph::Plan plan = plan_of_two();
  host::CafHost host({});
  begin_two(host, plan);
  // Two starts, and in each direction a message through its channel.
  while (host.activity().messages < 6) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto found = actors::explain_hang(plan, host.waiting(std::chrono::seconds(60)));
  EXPECT_EQ(found.cause, kCircle);
}

// Nothing is explained where nobody waits.
TEST_F(Hang, SaysNothingOfARunThatIsDone) {
  ClusterOptions options = spread_training(reader_);
  Simulated* host = nullptr;
  options.host = [&](device::CpuDevice& device) {
    host::SimHost::Config config;
    config.compute = device.context();
    auto made = std::make_unique<Simulated>(
        std::move(config), [](ActorIndex, ActorIndex, const Message&) { return true; });
    host = made.get();
    return made;
  };
  auto cluster = start_training(options);
  ASSERT_TRUE(cluster && run_steps(**cluster, 0, 2));
  ASSERT_TRUE(host->inner().run_until_quiet());
  EXPECT_EQ(actors::explain_hang(plan_, host->waiting({})).cause, "");
}

// ---- Live

using Clock = std::chrono::steady_clock;

class LiveHang : public Hang {
 protected:
  void set_passes(ClusterOptions& options, Passes passes) {
    options.host = [passes = std::move(passes)](device::CpuDevice& device) {
      host::CafHost::Config config;
      config.device = [&device](std::int32_t) { return &device; };
      return std::make_unique<Live>(std::move(config), passes);
    };
  }
  // Like set_passes, and keeps the time of the last message that was lost.
  Passes timed(Passes passes) {
    return [this, passes = std::move(passes)](ActorIndex from, ActorIndex to, const Message& m) {
      const bool passed = passes(from, to, m);
      if (!passed) lost_at_ = Clock::now().time_since_epoch().count();
      return passed;
    };
  }
  std::string stand_live(Passes passes) {
    ClusterOptions options = spread_training(reader_);
    set_passes(options, timed(std::move(passes)));
    auto cluster = start_training(options);
    EXPECT_TRUE(cluster);
    const auto reports = run_steps(**cluster, 0, 3);
    took_ = Clock::now().time_since_epoch() - Clock::duration(lost_at_);
    EXPECT_FALSE(reports) << "it went through";
    return reports ? "" : reports.error().message;
  }

  std::atomic<Clock::rep> lost_at_{0};
  Clock::duration took_{};  // from the last loss to the explanation
};

TEST_F(LiveHang, IsExplainedWithinASecond) {
  const ActorIndex experts = actor("experts 0.0");
  const std::string said = stand_live(losing(7, [=](ActorIndex from, ActorIndex, const Message& m) {
    return from == experts && m.key.topic == Topic::kCombine;
  }));
  EXPECT_THAT(said, StartsWith("nothing moves any more: combine of step "));
  EXPECT_THAT(said, HasSubstr("was lost between experts 0.0 and channel "));
  EXPECT_LT(took_, std::chrono::milliseconds(2500));  // of which what still moved took some
}

TEST_F(LiveHang, NamesALeakOfCredits) {
  const ActorIndex stage = actor("stage 1");
  const ActorIndex channel = actor("channel stage 0 -> stage 1: activation");
  const std::string said = stand_live([=](ActorIndex from, ActorIndex to, const Message&) {
    return from != stage || to != channel;
  });
  EXPECT_THAT(said, StartsWith("nothing moves any more: 2 of 2 credits were lost between stage 1 "
                               "and channel stage 0 -> stage 1: activation\n"));
}

// An actor that is gone takes the run with it at once; one that hangs in a message may yet come
// back, so that is a warning. (The other actors share its thread.)
TEST_F(LiveHang, WarnsOfADeadExpertGroup) {
  std::atomic<bool> hangs{true};
  std::string warned;
  const ActorIndex experts = actor("experts 0.1");
  ClusterOptions options = spread_training(reader_);
  set_passes(options, [&, experts](ActorIndex from, ActorIndex, const Message& m) {
    while (hangs && from == experts && m.key.topic == Topic::kCombine)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return true;
  });
  options.on_stall = [&](const std::string& why) {
    warned += why;
    hangs = false;
  };
  auto cluster = start_training(options);
  ASSERT_TRUE(cluster);
  const auto reports = run_steps(**cluster, 0, 2);
  EXPECT_TRUE(reports) << reports.error().message;
  EXPECT_THAT(warned, StartsWith("experts 0.1 does not answer: down, or busy with one message"));
}

// ---- No hang

TEST_F(LiveHang, IsNotSeenInALongTask) {
  struct Slow final : actors::SampleReader {
    explicit Slow(RandomReader& inner) : inner(inner) {}
    Status read(actors::StepMode mode, std::int64_t index, std::int32_t micro_batch,
                Tensor tokens) override {
      if (micro_batch == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1100));
      return inner.read(mode, index, micro_batch, tokens);
    }
    RandomReader& inner;
  };
  Slow slow(reader_);
  ClusterOptions options = spread_training(reader_);
  options.reader = &slow;
  auto cluster = start_training(options);
  ASSERT_TRUE(cluster);
  const auto reports = run_steps(**cluster, 0, 1);
  EXPECT_TRUE(reports) << reports.error().message;
}

TEST_F(LiveHang, IsNotSeenWhileADiskIsSlow) {
  struct Slow final : actors::CheckpointStore {
    Result<std::string> write(std::int64_t, std::span<const actors::ParameterState>) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(1100));
      return std::string("there");
    }
  };
  Slow slow;
  ClusterOptions options = spread_training(reader_);
  options.store = &slow;
  options.supervisor.checkpoint_at_end = true;
  std::string warned;
  options.on_stall = [&](const std::string& why) { warned += why; };
  auto cluster = start_training(options);
  ASSERT_TRUE(cluster);
  const auto reports = run_steps(**cluster, 0, 1);
  EXPECT_TRUE(reports) << reports.error().message;
  EXPECT_EQ(warned, "");
}

TEST_F(LiveHang, IsNotSeenBetweenCommands) {
  auto cluster = start_training(spread_training(reader_));
  ASSERT_TRUE(cluster && run_steps(**cluster, 0, 1));
  const auto end = Clock::now() + std::chrono::milliseconds(1200);
  while (Clock::now() < end) {
    const auto nothing = (*cluster)->receive_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(nothing) << nothing.error().message;
    EXPECT_FALSE(*nothing);
  }
  EXPECT_TRUE(run_steps(**cluster, 1, 2));
}

// Stops the calling process for a second, over and over. Told to end it first lets it go on.
class Stopper {
 public:
  Stopper() {
    const pid_t parent = getpid();
    child_ = fork();
    if (child_ != 0) return;
    sigset_t end, pending;  // nothing but system calls from here on
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, nullptr);
    for (useconds_t i = 0; getppid() == parent; ++i) {
      usleep(30'000 + 7'000 * i);
      kill(parent, SIGSTOP);
      usleep(1'000'000);
      kill(parent, SIGCONT);
      sigpending(&pending);
      if (sigismember(&pending, SIGTERM) == 1) break;
    }
    _exit(0);
  }
  ~Stopper() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_ = -1;
};

TEST_F(LiveHang, IsNotSeenInAProcessThatWasStopped) {
  ClusterOptions options = spread_training(reader_);
  std::string warned;
  options.on_stall = [&](const std::string& why) { warned += why; };
  auto cluster = start_training(options);
  ASSERT_TRUE(cluster);
  const Stopper stopper;
  const auto end = Clock::now() + std::chrono::seconds(4);
  for (std::int64_t step = 0; Clock::now() < end; ++step) {
    const auto reports = run_steps(**cluster, step, step + 1);
    ASSERT_TRUE(reports) << reports.error().message;
  }
  EXPECT_EQ(warned, "");
}

}  // namespace
}  // namespace sluice::engine
