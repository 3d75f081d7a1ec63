// One CAF actor around each actor, and the way out to the thread that runs the host.
#include "runtime/host/caf_host.hpp"

#include <algorithm>
#include <atomic>
#include <caf/all.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/base/check.hpp"
#include "runtime/host/caf_compatibility.hpp"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace sluice::host {
namespace {

// CAF's mailboxes order the sender of a message before its receiver, and one message of an actor
// before the next, by atomics inside its library. That is compiled without ThreadSanitizer, which
// is told of the order here.
void publish([[maybe_unused]] void* what) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(what);
#endif
}
void accept([[maybe_unused]] void* what) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(what);
#endif
}

}  // namespace

// Asked of all actors at once: what each waits for.
struct Question {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::optional<actors::Waiting>> answers;
  std::size_t missing = 0;

  void answer(ActorIndex index, actors::Waiting waiting) {
    const std::lock_guard lock(mutex);
    answers[static_cast<std::size_t>(index)] = std::move(waiting);
    --missing;
    changed.notify_all();
  }

  // For all, at most so long. In slices that count no more than they should take: a process that
  // was stopped, or got no core, has not waited for that long.
  void wait(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds left) {
    constexpr std::chrono::nanoseconds kSlice = std::chrono::milliseconds(10);
    for (; missing > 0 && left.count() > 0; left -= kSlice)
      changed.wait_for(lock, std::min(left, kSlice), [this] { return missing == 0; });
  }
};

// What CAF carries from actor to actor, in its mailbox's own memory.
struct Envelope {
  Envelope() = default;
  explicit Envelope(actors::Message&& content) : message(std::move(content)) {}
  explicit Envelope(std::shared_ptr<Question> asked) : question(std::move(asked)) {}
  Envelope(Envelope&& other) noexcept
      : message(std::move(other.message)), question(std::move(other.question)) {
    publish(this);
  }
  Envelope(const Envelope& other) : message(other.message), question(other.question) {
    publish(this);
  }
  ~Envelope() { accept(this); }  // perhaps unread, in the mailbox of an actor that stops

  actors::Message message;
  std::shared_ptr<Question> question;  // in place of a message; shared with who asked
};

}  // namespace sluice::host

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(sluice::host::Envelope)
#if SLUICE_CAF_1
CAF_BEGIN_TYPE_ID_BLOCK(sluice, first_custom_type_id)
CAF_ADD_TYPE_ID(sluice, (sluice::host::Envelope))
CAF_END_TYPE_ID_BLOCK(sluice)
#endif

namespace sluice::host {

using actors::Message;

void register_caf_types() {
#if SLUICE_CAF_1
  static const bool done = [] {
    caf::init_global_meta_objects<caf::id_block::sluice>();
    caf::core::init_global_meta_objects();
    return true;
  }();
  static_cast<void>(done);
#endif
}

struct CafHost::State {
  struct Seat {
    graph::ActorPlan place;
    std::unique_ptr<actors::Actor> actor;
    device::Device* device = nullptr;
    caf::actor handle;
  };

  explicit State(Config c) : config(std::move(c)) {}

  Seat& seat(ActorIndex index) {
    SLUICE_CHECK(index >= 0 && index < static_cast<ActorIndex>(seats.size()) &&
                     seats[static_cast<std::size_t>(index)].handle,
                 "no actor {}", index);
    return seats[static_cast<std::size_t>(index)];
  }

  void deliver_outside(Message message) {
    const std::lock_guard lock(mutex);
    outside.push_back(std::move(message));
    changed.notify_one();
  }

  // The first failure is the cause; what falls over after it is not reported.
  void fail(const Seat& seat, const std::string& reason) {
    const std::lock_guard lock(mutex);
    if (stopping || failure) return;
    failure = Error{ErrorKind::kFailed, fmt::format("{} went down: {}", seat.place.name, reason)};
    changed.notify_all();
  }

  [[nodiscard]] std::int64_t now_ns() const {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now() - began).count();
  }

  // Puts a clock round the body: the observer hears of the task before anyone hears that it is
  // done.
  void watch(ActorIndex actor, actors::Task& task) {
    auto body = std::exchange(task.body, nullptr);
    const actors::Task about = task;
    task.body = [this, actor, about, body = std::move(body),
                 submitted = now_ns()](const kernels::ComputeContext& context) mutable {
      TaskTimes times{submitted, now_ns(), 0};
      config.observer->on_start(actor, about, times.started_ns);
      body(context);
      body = nullptr;
      times.ended_ns = now_ns();
      config.observer->on_task(actor, about, times);
    };
  }

  bool begin_task() {
    const std::lock_guard lock(mutex);
    if (stopping) return false;
    ++tasks_in_flight;
    return true;
  }

  void end_task() {
    const std::lock_guard lock(mutex);
    --tasks_in_flight;
    changed.notify_all();
  }

  Config config;
  std::vector<Seat>
      seats;  // handles are set before the first message and never change while it runs
  std::unique_ptr<caf::actor_system_config> system_config;
  std::unique_ptr<caf::actor_system> system;

  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();

  std::vector<std::atomic<bool>> acting;   // by actor: amid a message; sized at the start
  std::atomic<std::uint64_t> messages{0};  // handled
  std::atomic<std::int64_t> timers{0};     // set and not fired
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Message> outside;
  std::optional<Error> failure;
  std::int64_t tasks_in_flight = 0;
  bool stopping = false;
};

class CafHost::CafActor final : public caf::event_based_actor, private actors::Context {
 public:
  CafActor(caf::actor_config& config, State* state, ActorIndex self)
      : caf::event_based_actor(config),
        state_(*state),
        seat_(state->seats[static_cast<std::size_t>(self)]),
        self_(self) {}

  caf::behavior make_behavior() override {
    return {[this](Envelope& envelope) { handle(envelope); }};
  }
  const char* name() const override { return "sluice"; }

 private:
  void handle(Envelope& envelope) {
    accept(&envelope);
    accept(seat_.actor.get());
    if (envelope.question) {
      envelope.question->answer(self_, seat_.actor->waiting());
    } else {
      deliver(std::move(envelope.message));
    }
    publish(seat_.actor.get());
  }

  // What third parties throw below an actor (memory ran out) takes that actor down, and the run
  // with it.
  void deliver(Message message) {
    state_.messages.fetch_add(1, std::memory_order_relaxed);
    std::atomic<bool>& acting = state_.acting[static_cast<std::size_t>(self_)];
    acting.store(true, std::memory_order_relaxed);
    try {
      if (std::holds_alternative<actors::TimerFired>(message.body))
        state_.timers.fetch_sub(1, std::memory_order_relaxed);
      if (Observer* observer = state_.config.observer)
        observer->on_delivery(self_, message, state_.now_ns());
      seat_.actor->on_message(*this, std::move(message));
    } catch (const std::exception& exception) {
      state_.fail(seat_, exception.what());
      quit(caf::sec::runtime_error);
    }
    acting.store(false, std::memory_order_relaxed);
  }

  void send(ActorIndex to, Message message) override {
    if (Observer* observer = state_.config.observer)
      observer->on_send(self_, to, message, state_.now_ns());
    if (to == graph::kOutside) return state_.deliver_outside(std::move(message));
    send_as(this, state_.seat(to).handle, Envelope(std::move(message)));
  }

  void submit(actors::Task task) override {
    SLUICE_CHECK(seat_.device != nullptr, "{} has no device", seat_.place.name);
    if (!state_.begin_task()) return;
    const std::uint64_t id = task.id;
    if (state_.config.observer != nullptr) state_.watch(self_, task);
    seat_.device->submit(std::move(task), [this, id] {
      send_from_outside(seat_.handle, Envelope(Message{.body = actors::TaskDone{id}}));
      state_.end_task();
    });
  }

  void set_timer(double seconds, std::uint64_t timer) override {
    state_.timers.fetch_add(1, std::memory_order_relaxed);
    const std::chrono::duration<double> delay(seconds);
    send_later(this, std::chrono::duration_cast<std::chrono::nanoseconds>(delay),
               Envelope(Message{.body = actors::TimerFired{timer}}));
  }

  State& state_;
  State::Seat& seat_;
  ActorIndex self_;
};

CafHost::CafHost(Config config) : state_(std::make_unique<State>(std::move(config))) {}

CafHost::~CafHost() { static_cast<void>(stop()); }

void CafHost::add(ActorIndex index, const graph::ActorPlan& place,
                  std::unique_ptr<actors::Actor> actor) {
  SLUICE_CHECK(state_->system == nullptr && index >= 0 && actor != nullptr);
  const auto slot = static_cast<std::size_t>(index);
  if (state_->seats.size() <= slot) state_->seats.resize(slot + 1);
  State::Seat& seat = state_->seats[slot];
  SLUICE_CHECK(seat.actor == nullptr, "actor {} twice", index);
  seat = {place,
          std::move(actor),
          state_->config.device ? state_->config.device(place.rank) : nullptr,
          {}};
}

Status CafHost::start() {
  SLUICE_CHECK(state_->system == nullptr && !state_->stopping, "a host starts once");
  register_caf_types();
  try {
    state_->system_config = std::make_unique<caf::actor_system_config>();
    configure_scheduler(*state_->system_config, state_->config.threads);
    state_->system = std::make_unique<caf::actor_system>(*state_->system_config);
    state_->began = std::chrono::steady_clock::now();
    state_->acting = std::vector<std::atomic<bool>>(state_->seats.size());
    for (std::size_t index = 0; index < state_->seats.size(); ++index) {
      State::Seat& seat = state_->seats[index];
      if (seat.actor == nullptr) continue;
      seat.handle = state_->system->spawn<CafActor>(state_.get(), static_cast<ActorIndex>(index));
      seat.handle->attach_functor([state = state_.get(), &seat](const caf::error& reason) {
        state->fail(seat, to_string(reason));
      });
    }
  } catch (const std::exception& exception) {
    return failed("the actor system did not start: {}", exception.what());
  }
  return {};
}

void CafHost::send(ActorIndex to, Message message) {
  const std::lock_guard lock(state_->mutex);
  if (state_->stopping) return;
  message.from = graph::kOutside;
  if (Observer* observer = state_->config.observer)
    observer->on_send(graph::kOutside, to, message, state_->now_ns());
  send_from_outside(state_->seat(to).handle, Envelope(std::move(message)));
}

Result<std::optional<Message>> CafHost::receive_for(std::chrono::nanoseconds wait_max) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  const auto ready = [&state] { return !state.outside.empty() || state.failure || state.stopping; };
  if (wait_max == std::chrono::nanoseconds::max()) {
    state.changed.wait(lock, ready);
  } else if (!state.changed.wait_for(lock, wait_max, ready)) {
    return std::nullopt;
  }
  if (!state.outside.empty()) {
    Message message = std::move(state.outside.front());
    state.outside.pop_front();
    return message;
  }
  if (state.failure) return tl::unexpected(*state.failure);
  return failed("the host has been stopped");
}

Host::Activity CafHost::activity() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->messages.load(std::memory_order_relaxed),
          state_->tasks_in_flight + state_->timers.load(std::memory_order_relaxed)};
}

std::vector<std::optional<actors::Waiting>> CafHost::waiting(std::chrono::nanoseconds wait_max) {
  const auto question = std::make_shared<Question>();
  std::unique_lock lock(question->mutex);
  question->answers.resize(state_->seats.size());
  for (const State::Seat& seat : state_->seats) {
    if (!seat.handle) continue;
    ++question->missing;
    send_from_outside(seat.handle, Envelope(question));
  }
  question->wait(lock, wait_max);
  auto answers = question->answers;
  const auto blocks = [&](std::size_t i) {
    return !answers[i] && state_->acting[i].load(std::memory_order_relaxed);
  };
  bool is_blocked = false;
  for (std::size_t i = 0; i < answers.size(); ++i) is_blocked |= blocks(i);
  for (std::size_t i = 0; i < answers.size(); ++i)
    if (is_blocked && !answers[i] && !blocks(i)) answers[i] = actors::Waiting{};
  return answers;
}

Status CafHost::stop() {
  State& state = *state_;
  {
    std::unique_lock lock(state.mutex);
    state.stopping = true;
    state.changed.notify_all();
    state.changed.wait(lock, [&state] { return state.tasks_in_flight == 0; });
  }
  for (State::Seat& seat : state.seats) {
    if (seat.handle) caf::anon_send_exit(seat.handle, caf::exit_reason::kill);
  }
  if (state.system) state.system->await_all_actors_done();
  for (State::Seat& seat : state.seats) seat.handle = nullptr;
  state.system = nullptr;  // after it no thread of CAF is left
  state.seats.clear();
  if (state.failure) return tl::unexpected(*state.failure);
  return {};
}

}  // namespace sluice::host
