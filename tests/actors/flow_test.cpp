// Flows: what they wait for, in which order they go on, and what is left when their actor goes.
#include "actors/flow.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice::actors {
namespace {

constexpr ActorIndex kSelf = 7;
constexpr ActorIndex kChannel = 9;

Key key_of(std::int32_t micro_batch) {
  return {.micro_batch = micro_batch, .topic = Topic::kActivation};
}
Message control(std::int32_t number = 0) {
  return Message{.body = StepStart{.micro_batches = number}};
}
std::int32_t number_in(const Message& message) {
  return std::get<StepStart>(message.body).micro_batches;
}
Message data(std::int32_t micro_batch, ActorIndex via = kNoActor) {
  return Message{.key = key_of(micro_batch), .via = via, .body = NextToken{.token = micro_batch}};
}
Message credit(std::int32_t count) { return Message{.from = kChannel, .body = Credit{count}}; }

// Takes down what the actor does; tasks run when the test says.
class Recorder final : public Context {
 public:
  void send(ActorIndex to, Message message) override { sent.emplace_back(to, std::move(message)); }
  void submit(Task task) override { tasks.push_back(std::move(task)); }
  void set_timer(double, std::uint64_t) override {}

  // Runs task `index` and tells the actor.
  void finish(Actor& actor, std::size_t index) {
    tasks[index].body({});
    actor.on_message(*this, Message{.body = TaskDone{tasks[index].id}});
  }

  std::vector<std::pair<ActorIndex, Message>> sent;
  std::vector<Task> tasks;
};

using Diary = std::vector<std::string>;

// Starts a flow at a control message, and keeps a diary.
class Diarist : public FlowActor {
 public:
  Diarist() : FlowActor(kSelf) { open_channel(kChannel, 2); }
  Diary diary;

 protected:
  void note(std::string line) { diary.push_back(std::move(line)); }
};

// ---- Receiving

class Receiver final : public Diarist {
  void on_control(Message message) override { read(number_in(message)); }
  void on_arrival(const Key& key) override { note("arrived " + std::to_string(key.micro_batch)); }
  Flow read(std::int32_t micro_batch) {
    Message in = co_await receive(key_of(micro_batch));
    note("read " + std::to_string(std::get<NextToken>(in.body).token));
  }
};

TEST(Flow, ReceivesWhatComesLater) {
  Recorder context;
  Receiver actor;
  actor.on_message(context, control(4));
  EXPECT_FALSE(actor.idle());
  EXPECT_TRUE(actor.diary.empty());
  actor.on_message(context, data(4));
  EXPECT_EQ(actor.diary, Diary{"read 4"});
  EXPECT_TRUE(actor.idle());
}

TEST(Flow, ReceivesWhatLiesThere) {
  Recorder context;
  Receiver actor;
  actor.on_message(context, data(4));
  actor.on_message(context, data(5));
  EXPECT_FALSE(actor.idle());
  actor.on_message(context, control(5));
  actor.on_message(context, control(4));
  EXPECT_EQ(actor.diary, (Diary{"arrived 4", "arrived 5", "read 5", "read 4"}));
  EXPECT_TRUE(actor.idle());
}

TEST(Flow, MatchesEveryFieldOfTheKey) {
  Recorder context;
  Receiver actor;
  actor.on_message(context, control(1));
  for (const Key& other : {Key{.step = 1, .micro_batch = 1, .topic = Topic::kActivation},
                           Key{.micro_batch = 2, .topic = Topic::kActivation},
                           Key{.micro_batch = 1, .layer = 1, .topic = Topic::kActivation},
                           Key{.micro_batch = 1, .topic = Topic::kGradient},
                           Key{.micro_batch = 1, .topic = Topic::kActivation, .part = 1}}) {
    actor.on_message(context, Message{.key = other, .body = NextToken{}});
  }
  EXPECT_EQ(actor.diary.size(), 5U);  // all arrived, none was read
  actor.on_message(context, data(1));
  EXPECT_EQ(actor.diary.back(), "read 1");
}

TEST(Flow, AMessageGivesItsCreditBackWhenItIsTaken) {
  Recorder context;
  Receiver actor;
  actor.on_message(context, data(4, kChannel));
  EXPECT_TRUE(context.sent.empty());  // it lies in the mailbox: the buffer is in use
  actor.on_message(context, control(4));
  ASSERT_EQ(context.sent.size(), 1U);
  EXPECT_EQ(context.sent[0].first, kChannel);
  EXPECT_EQ(std::get<Credit>(context.sent[0].second.body).count, 1);
  EXPECT_EQ(context.sent[0].second.from, kSelf);
  actor.on_message(context, control(5));
  actor.on_message(context, data(5, kChannel));
  EXPECT_EQ(context.sent.size(), 2U);
}

TEST(FlowDeathTest, TwoMessagesOrTwoFlowsWithOneKeyAreABug) {
  Recorder context;
  Receiver actor;
  actor.on_message(context, data(4));
  EXPECT_DEATH(actor.on_message(context, data(4)), "two messages with one key");
  actor.on_message(context, control(6));
  EXPECT_DEATH(actor.on_message(context, control(6)), "two flows await one key");
}

// ---- Sending

class Sender final : public Diarist {
  void on_control(Message message) override { write(number_in(message)); }
  Flow write(std::int32_t micro_batch) {
    Message out = data(micro_batch);
    co_await send(kChannel, out);
    note("sent " + std::to_string(micro_batch));
  }
};

TEST(Flow, SendsWhileItHasCreditsAndInOrderAfterwards) {
  Recorder context;
  Sender actor;
  for (std::int32_t m = 0; m < 5; ++m) actor.on_message(context, control(m));
  EXPECT_EQ(actor.diary, (Diary{"sent 0", "sent 1"}));
  actor.on_message(context, credit(1));
  EXPECT_EQ(actor.diary.back(), "sent 2");
  actor.on_message(context, credit(2));
  EXPECT_EQ(actor.diary, (Diary{"sent 0", "sent 1", "sent 2", "sent 3", "sent 4"}));
  EXPECT_TRUE(actor.idle());
  ASSERT_EQ(context.sent.size(), 5U);
  for (std::int32_t m = 0; m < 5; ++m) {
    const auto& [to, message] = context.sent[static_cast<std::size_t>(m)];
    EXPECT_EQ(to, kChannel);
    EXPECT_EQ(message.from, kSelf);
    EXPECT_EQ(message.key, key_of(m));
  }
}

// ---- Tasks

class Runner final : public Diarist {
 public:
  Tensor last;

 private:
  void on_control(Message message) override { work(number_in(message)); }
  Flow work(std::int32_t id) {
    const TaskSpec make{.name = "make", .operations = 3, .priority = id};
    const Tensor made = co_await run(make, [&](const kernels::ComputeContext&) {
      return Tensor::from<float>(std::vector<float>(4, static_cast<float>(id)), {4});
    });
    const std::string label = "value " + std::to_string(static_cast<int>(made.values<float>()[3]));
    const TaskSpec write{.name = "write", .lane = Lane::kStorage};
    co_await run(write, [&](const kernels::ComputeContext&) { note(label); });
    last = made;
  }
};

TEST(Flow, RunsTasksAndGetsTheirResults) {
  Recorder context;
  Runner actor;
  actor.on_message(context, control(5));
  actor.on_message(context, control(6));
  ASSERT_EQ(context.tasks.size(), 2U);
  EXPECT_STREQ(context.tasks[0].name, "make");
  EXPECT_EQ(context.tasks[0].operations, 3);
  EXPECT_EQ(context.tasks[1].priority, 6);
  EXPECT_NE(context.tasks[0].id, context.tasks[1].id);
  context.finish(actor, 1);  // the later flow goes on first
  ASSERT_EQ(context.tasks.size(), 3U);
  EXPECT_EQ(context.tasks[2].lane, Lane::kStorage);
  context.finish(actor, 2);
  context.finish(actor, 0);
  context.finish(actor, 3);
  EXPECT_EQ(actor.diary, (Diary{"value 6", "value 5"}));
  EXPECT_EQ(actor.last.values<float>()[0], 5);
  EXPECT_TRUE(actor.idle());
}

TEST(FlowDeathTest, AnAnswerToATaskThatDoesNotRunIsABug) {
  Recorder context;
  Runner actor;
  actor.on_message(context, control(1));
  EXPECT_DEATH(actor.on_message(context, Message{.body = TaskDone{77}}), "task 77 is not running");
}

// Holds a token in a task's captured copies.
class Lender final : public Diarist {
 public:
  explicit Lender(std::shared_ptr<int> token) : token_(std::move(token)) {}

 private:
  void on_control(Message) override { lend(); }
  Flow lend() {
    auto body = [copy = token_](const kernels::ComputeContext&) { return *copy + 1; };
    const int answer = co_await run({.name = "lend"}, body);
    note(std::to_string(answer));
  }
  std::shared_ptr<int> token_;
};

TEST(Flow, AVariableMayBeTheBodyOfATask) {
  const auto token = std::make_shared<int>(41);
  {
    Recorder context;
    Lender actor(token);
    actor.on_message(context, control());
    context.finish(actor, 0);
    EXPECT_EQ(actor.diary, Diary{"42"});
    EXPECT_EQ(token.use_count(), 2);  // here and in the actor; once each, whatever the compiler
  }
  EXPECT_EQ(token.use_count(), 1);
}

// ---- Parts of a flow

class Nested final : public Diarist {
  void on_control(Message) override { outer(); }
  Flow outer() {
    const Tensor sum = co_await middle(3);
    note("sum " + std::to_string(static_cast<int>(sum.values<float>()[0])));
    co_await last();
    note("end");
  }
  Async<Tensor> middle(std::int32_t count) {
    const Tensor sum = Tensor::zeros(DType::kF32, {1});
    for (std::int32_t m = 0; m < count; ++m) {
      const std::int32_t token = co_await inner(m);
      sum.values<float>()[0] += static_cast<float>(token);
    }
    co_return sum;
  }
  Async<std::int32_t> inner(std::int32_t micro_batch) {
    Message in = co_await receive(key_of(micro_batch));
    co_return std::get<NextToken>(in.body).token;
  }
  Async<Done> last() {
    note("last");
    co_return Done{};
  }
};

TEST(Flow, PartsOfAFlowNest) {
  Recorder context;
  Nested actor;
  actor.on_message(context, data(2));
  actor.on_message(context, control());
  actor.on_message(context, data(0));
  EXPECT_TRUE(actor.diary.empty());
  actor.on_message(context, data(1));
  EXPECT_EQ(actor.diary, (Diary{"sum 3", "last", "end"}));
  EXPECT_TRUE(actor.idle());
}

// ---- Waiting for each other

class Gated final : public Diarist {
 public:
  Gated() { gate_.reset(2); }

 private:
  void on_control(Message message) override {
    const std::int32_t id = number_in(message);
    if (id < 0) return gate_.release(*this);
    enter(id);
  }
  Flow enter(std::int32_t id) {
    co_await gate_.acquire(*this);
    note("in " + std::to_string(id));
  }
  Semaphore gate_;
};

TEST(Flow, ASemaphoreLetsInSoManyAndThenOneForOneInOrder) {
  Recorder context;
  Gated actor;
  for (std::int32_t id = 0; id < 5; ++id) actor.on_message(context, control(id));
  EXPECT_EQ(actor.diary, (Diary{"in 0", "in 1"}));
  actor.on_message(context, control(-1));
  actor.on_message(context, control(-1));
  EXPECT_EQ(actor.diary, (Diary{"in 0", "in 1", "in 2", "in 3"}));
  actor.on_message(context, control(-1));
  actor.on_message(context, control(-1));  // nobody waits: kept
  actor.on_message(context, control(6));
  EXPECT_EQ(actor.diary.back(), "in 6");
  EXPECT_TRUE(actor.idle());
}

class Queue final : public Diarist {
  void on_control(Message message) override {
    const std::int32_t index = number_in(message);
    if (index < 0) return turnstile_.reset();
    go(index);
  }
  Flow go(std::int32_t index) {
    co_await turnstile_.turn(index);
    note(std::to_string(index));
    co_await receive(key_of(index));
    turnstile_.pass(*this);
  }
  Turnstile turnstile_;
};

TEST(Flow, ATurnstileKeepsTheOrder) {
  Recorder context;
  Queue actor;
  for (const std::int32_t index : {2, 0, 1}) actor.on_message(context, control(index));
  EXPECT_EQ(actor.diary, Diary{"0"});
  actor.on_message(context, data(0));
  EXPECT_EQ(actor.diary, (Diary{"0", "1"}));
  actor.on_message(context, data(2));  // whose turn has not come
  actor.on_message(context, data(1));
  EXPECT_EQ(actor.diary, (Diary{"0", "1", "2"}));
  EXPECT_TRUE(actor.idle());
  actor.on_message(context, control(-1));
  actor.on_message(context, control(0));
  EXPECT_EQ(actor.diary.back(), "0");
}

// ---- The end

// Gets stuck in each of the ways to wait, inside a part of a flow that holds a tensor and a token.
class Holder final : public Diarist {
 public:
  explicit Holder(std::shared_ptr<int> token) : token_(std::move(token)) {
    open_channel(kChannel, 0);
  }

 private:
  void on_control(Message message) override { hold(number_in(message), token_); }
  Flow hold(std::int32_t kind, std::shared_ptr<int> token) {
    const Tensor rows = co_await deep(kind, token);
    static_cast<void>(rows);
  }
  Async<Tensor> deep(std::int32_t kind, std::shared_ptr<int> token) {
    const Tensor rows = Tensor::zeros(DType::kF32, {100});
    Message out{.key = key_of(1), .body = Hidden{rows}};
    if (kind == 0) co_await receive(key_of(0));
    if (kind == 1) co_await send(kChannel, out);
    if (kind == 2) co_await run({}, [&](const kernels::ComputeContext&) { return *token; });
    if (kind == 3) co_await closed_.acquire(*this);
    if (kind == 4) co_await order_.turn(99);
    co_return rows;
  }
  std::shared_ptr<int> token_;
  Semaphore closed_;
  Turnstile order_;
};

TEST(Flow, ADestroyedActorFreesWhatItsFlowsHold) {
  const auto token = std::make_shared<int>(1);
  for (std::int32_t kind = 0; kind < 5; ++kind) {
    {
      Recorder context;
      Holder actor(token);
      actor.on_message(context, control(kind));
      actor.on_message(context, data(50));  // one that nobody reads
      EXPECT_FALSE(actor.idle()) << kind;
      EXPECT_GT(token.use_count(), 2) << kind;
    }
    EXPECT_EQ(token.use_count(), 1) << kind;
  }
}

}  // namespace
}  // namespace sluice::actors
