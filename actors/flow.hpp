// Coroutines for actors: sequential behaviour that reads top to bottom, where every co_await is a
// message.
//
//   Flow Stage::pass(MicroBatch m) {                // starts at once, ends by itself
//     Message in = co_await receive(key);           // a message, matched by key
//     Tensor y = co_await run(spec, [&](auto& c) { return layer(c, in); });   // a task on the lane
//     Message out{.key = next, .body = Hidden{y}};
//     co_await send(channel, out);                  // waits for a credit, not for a thread
//     Tensor z = co_await helper(y);                // Async<Tensor>: a part of this flow
//   }
// Parameters are taken by value, co_await stands in plain statements, and no lambda that captures
// is a coroutine.
//
// GCC 12 destroys twice what a co_await statement makes in braces: an aggregate (`Hidden{y}`), or a
// lambda's captured copies. So a message is made in a statement before and `send` takes a variable;
// a task captures by reference (the frame outlives it), or is a variable too. Both are checked at
// compile time; only arguments of Async helpers are left to the reader: pass variables.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "actors/context.hpp"

namespace sluice::actors {

class FlowActor;

/// A coroutine that its actor owns: started by the call, destroyed at its end or with the actor.
class Flow {
 public:
  struct promise_type {
    template <class A, class... Arguments>
    explicit promise_type(A& actor, Arguments&&...) : actor(&actor) {}
    Flow get_return_object();
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() { std::terminate(); }
    ~promise_type();

    FlowActor* actor;
    promise_type* next = nullptr;  // of the actor's live flows
    promise_type* previous = nullptr;
  };
};

/// A part of a flow that gives a T; runs when awaited, in the awaiting flow.
template <class T>
class Async {
 public:
  struct promise_type;
  using Handle = std::coroutine_handle<promise_type>;

  struct promise_type {
    Async get_return_object() { return Async(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct Final {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(Handle self) noexcept { return self.promise().caller; }
      void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
    void return_value(T result) { value.emplace(std::move(result)); }
    [[noreturn]] void unhandled_exception() { std::terminate(); }

    std::coroutine_handle<> caller;
    std::optional<T> value;
  };

  explicit Async(Handle handle) : handle_(handle) {}
  Async(Async&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Async& operator=(Async&&) = delete;
  ~Async() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    handle_.promise().caller = caller;
    return handle_;
  }
  T await_resume() { return std::move(*handle_.promise().value); }

 private:
  Handle handle_;
};

/// Nothing, for Async<Done>: the result of a part that only acts.
struct Done {};

/// How a task is announced to the host.
struct TaskSpec {
  const char* name = "";
  double operations = 0;
  std::int32_t priority = 0;
  Lane lane = Lane::kCompute;
  Key key{};
};

/// An actor made of flows: mailbox by key, tasks, credits, and the waiting that flows do on each
/// other.
class FlowActor : public Actor {
 public:
  ~FlowActor() override;
  void on_message(Context& context, Message message) final;
  [[nodiscard]] bool idle() const override;
  [[nodiscard]] Waiting waiting() const override;

 protected:
  explicit FlowActor(ActorIndex self) : self_(self) {}

  /// A message that no flow awaits by key: topic kControl.
  virtual void on_control(Message message) = 0;
  /// A keyed message arrived that no flow awaits yet, and lies in the mailbox: a chance to start
  /// the flow that will receive it.
  virtual void on_arrival(const Key&) {}

  [[nodiscard]] ActorIndex self() const { return self_; }
  [[nodiscard]] Message make_message(Key key, Body body) const {
    return {key, self_, kNoActor, std::move(body)};
  }
  /// To an actor without a channel: control messages, reports.
  void post(ActorIndex to, Message&& message);

  // ---- Awaitables ----
  struct ReceiveAwaiter {
    FlowActor* actor;
    Key key;
    Message message;
    std::coroutine_handle<> flow;
    bool await_ready();
    void await_suspend(std::coroutine_handle<> handle);
    Message await_resume() { return std::move(message); }
  };
  /// The message with this key; its channel gets the credit back at once.
  [[nodiscard]] ReceiveAwaiter receive(Key key) { return {this, key, {}, {}}; }

  struct SendAwaiter {
    FlowActor* actor;
    ActorIndex channel;
    Message message;
    bool await_ready();
    void await_suspend(std::coroutine_handle<> handle);
    void await_resume();
  };
  /// Sends through a channel once it has a credit. Gives away what `message` holds.
  [[nodiscard]] SendAwaiter send(ActorIndex channel, Message& message) {
    return {this, channel, std::move(message)};
  }

  template <class F, class S>
  struct RunAwaiter {
    using R = std::invoke_result_t<F&, const kernels::ComputeContext&>;
    using Stored = std::conditional_t<std::is_void_v<R>, Done, R>;
    FlowActor* actor;
    TaskSpec spec;
    F body;      // an lvalue reference, or the lambda itself
    S stand_in;  // likewise
    std::optional<Stored> result;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      actor->submit(
          spec, handle, [this](const kernels::ComputeContext& compute) { compute_with(compute); },
          [this] { result.emplace(stand_in()); });
    }
    Stored await_resume() { return std::move(*result); }

   private:
    void compute_with(const kernels::ComputeContext& compute) {
      if constexpr (std::is_void_v<R>) {
        body(compute);
        result.emplace();
      } else {
        result.emplace(body(compute));
      }
    }
  };
  template <class R>
  struct Default {
    R operator()() const { return R(); }
  };
  /// Runs body(const ComputeContext&) on the lane and gives what it returned; on a host that runs
  /// no bodies, what stand_in() returns.
  template <class F, class S>
  [[nodiscard]] RunAwaiter<F, S> run(TaskSpec spec, F&& body, S&& stand_in) {
    static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>,
                  "capture by reference, or name the lambda in a statement before (see above)");
    static_assert(std::is_lvalue_reference_v<S> || std::is_trivially_destructible_v<S>,
                  "capture by reference, or name the lambda in a statement before (see above)");
    return {this, spec, std::forward<F>(body), std::forward<S>(stand_in), std::nullopt};
  }
  /// The same, with a default value in place of what no body made.
  template <class F>
  [[nodiscard]] auto run(TaskSpec spec, F&& body) {
    using R = std::invoke_result_t<F&, const kernels::ComputeContext&>;
    using Stored = std::conditional_t<std::is_void_v<R>, Done, R>;
    return run(spec, std::forward<F>(body), Default<Stored>{});
  }

  /// Counts down to zero and makes flows wait there.
  class Semaphore {
   public:
    explicit Semaphore(std::int32_t count = 0) : count_(count) {}
    [[nodiscard]] auto acquire(FlowActor& actor) { return Awaiter{this, &actor}; }
    void release(FlowActor& actor);
    [[nodiscard]] std::int32_t count() const { return count_; }
    void reset(std::int32_t count);

   private:
    struct Awaiter {
      Semaphore* semaphore;
      FlowActor* actor;
      bool await_ready();
      void await_suspend(std::coroutine_handle<> handle) { semaphore->waiting_.push_back(handle); }
      void await_resume() {}
    };
    std::int32_t count_;
    std::vector<std::coroutine_handle<>> waiting_;  // first come, first served; few
  };

  /// Lets flows pass in the order 0, 1, 2, ..., or from another number on: keeps sums in
  /// micro-batch order whatever runs ahead.
  class Turnstile {
   public:
    [[nodiscard]] auto turn(std::int32_t index) { return Awaiter{this, index}; }
    /// The flow whose turn it was has done what had to be in order.
    void pass(FlowActor& actor);
    void reset(std::int32_t first = 0);

   private:
    struct Awaiter {
      Turnstile* turnstile;
      std::int32_t index;
      bool await_ready() const { return turnstile->next_ == index; }
      void await_suspend(std::coroutine_handle<> handle);
      void await_resume() {}
    };
    std::int32_t next_ = 0;
    std::map<std::int32_t, std::coroutine_handle<>> waiting_;
  };

  /// Declares how many credits this actor holds for a channel at the start.
  void open_channel(ActorIndex channel, std::int32_t credits);

 private:
  friend struct Flow::promise_type;
  struct Sender {
    std::int32_t credits = 0;
    std::deque<std::coroutine_handle<>> waiting;
  };

  void submit(const TaskSpec& spec, std::coroutine_handle<> flow,
              std::function<void(const kernels::ComputeContext&)> body,
              std::function<void()> stand_in);
  void give_back_credit(const Message& message);
  void deliver(Message&& message);
  std::vector<ReceiveAwaiter*>::iterator find_receiver(const Key& key);
  void wake(std::coroutine_handle<> flow) { ready_.push_back(flow); }

  ActorIndex self_;
  Context* context_ = nullptr;
  std::uint64_t next_task_ = 1;
  std::vector<std::pair<std::uint64_t, std::coroutine_handle<>>> tasks_;  // under way: few
  std::map<Key, Message> mailbox_;
  std::vector<ReceiveAwaiter*> receivers_;  // few: flows under way that wait for a message
  std::map<ActorIndex, Sender> senders_;
  std::deque<std::coroutine_handle<>> ready_;
  Flow::promise_type* flows_ = nullptr;                 // live, the newest first
  std::map<ActorIndex, std::int64_t> sent_, received_;  // messages, as Waiting has them
};

}  // namespace sluice::actors
