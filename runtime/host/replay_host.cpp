// Records drive actors; what actors do in turn waits here until its record comes.
#include "runtime/host/replay_host.hpp"

#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "kernels/base/check.hpp"
#include "kernels/base/digest.hpp"
#include "runtime/host/observer.hpp"
#include "runtime/trace/step_notes.hpp"
#include "runtime/trace/tensor_digests.hpp"

namespace sluice::host {
namespace {

using actors::Message;
using graph::kNoActor;
using trace::Difference;

// Sent by an actor that runs; its record has not come yet.
struct Made {
  ActorIndex to = kNoActor;
  Message message;
};

struct Submitted {
  actors::Task task;
  bool has_run = false;
};

class Digester final : public trace::ArrayVisitor {
 public:
  std::int64_t arrays = 0;
  std::uint64_t digest_of(DType, const Shape&, std::span<const std::byte> elements,
                          const Tensor* owner) override {
    ++arrays;
    return owner != nullptr ? digests_.find(*owner, false).digest : digest(elements);
  }

 private:
  trace::TensorDigests digests_;
};

}  // namespace

struct ReplayHost::State {
  class Gate final : public actors::Context {
   public:
    Gate(State& state, ActorIndex self) : state_(state), self_(self) {}
    void send(ActorIndex to, Message message) override {
      if (state_.config.on_sent) state_.config.on_sent(self_, to, message);
      state_.made[self_].push_back({to, std::move(message)});
    }
    void submit(actors::Task task) override {
      const std::uint64_t id = task.id;
      state_.tasks.insert_or_assign({self_, id}, Submitted{std::move(task)});
    }
    void set_timer(double, std::uint64_t) override {}  // its delivery is in the log

   private:
    State& state_;
    ActorIndex self_;
  };

  struct Seat {
    std::unique_ptr<actors::Actor> actor;
    std::unique_ptr<Gate> gate;
  };

  explicit State(Config c) : config(std::move(c)), seats(config.recording->actors.size()) {}

  [[nodiscard]] Seat* running(ActorIndex index) {
    if (index < 0 || index >= static_cast<ActorIndex>(seats.size())) return nullptr;
    Seat& seat = seats[static_cast<std::size_t>(index)];
    return seat.actor == nullptr ? nullptr : &seat;
  }
  [[nodiscard]] const std::string& name(ActorIndex actor) const {
    return config.recording->name(actor);
  }
  [[nodiscard]] std::string words(const Message& message) const {
    return trace::to_string(
        trace::MessageHead{message.key, static_cast<std::uint32_t>(message.body.index())});
  }

  void differ(ActorIndex actor, Difference found, const actors::Key& key) {
    found.actor = name(actor);
    found.note = steps.of(key.step);
    difference = std::move(found);
  }

  // The runs part by a message that one of them does not have.
  void part(ActorIndex actor, std::string message, std::string recorded, std::string replayed,
            const actors::Key& key) {
    Difference found;
    found.message = std::move(message);
    found.here = std::move(recorded);
    found.there = std::move(replayed);
    differ(actor, std::move(found), key);
  }
  void part_by_unsent(ActorIndex actor, const Made& sent) {
    part(actor, fmt::format("{} to {}", words(sent.message), name(sent.to)), "not sent", "sent",
         sent.message.key);
  }

  // ---- Records

  Status take(const trace::SendEvent& event, trace::Elements& elements) {
    if (running(event.from) != nullptr) return take_own(event, elements);
    if (running(event.to) == nullptr) return {};
    trace::ByteReader bytes(event.message);
    const auto source = [&](const trace::ArrayInfo& info) { return elements.find(info); };
    auto message = trace::decode(bytes, source);
    if (!message) {
      return in_context(fmt::format("{}: {} to {}", name(event.from), trace::to_string(event.head),
                                    name(event.to)),
                        std::move(message).error());
    }
    message->from = event.from;
    note_step(*message);
    on_way[{event.from, event.to}].push_back(std::move(*message));
    return {};
  }

  // An actor that runs must have sent the same.
  Status take_own(const trace::SendEvent& event, trace::Elements& elements) {
    std::deque<Made>& queue = made[event.from];
    const std::string recorded =
        fmt::format("{} to {}", trace::to_string(event.head), name(event.to));
    if (queue.empty()) {
      part(event.from, recorded, "sent", "not sent", event.head.key);
      return {};
    }
    Made sent = std::move(queue.front());
    queue.pop_front();
    const std::string replayed = fmt::format("{} to {}", words(sent.message), name(sent.to));
    if (replayed != recorded || sent.message.via == event.from) {
      part(event.from, "sends another message", recorded, replayed, event.head.key);
      return {};
    }
    SLUICE_TRY(compare(event, sent, elements));
    note_step(sent.message);
    on_way[{event.from, event.to}].push_back(std::move(sent.message));
    return {};
  }

  Status compare(const trace::SendEvent& event, const Made& sent, trace::Elements& elements) {
    trace::ByteWriter encoded;
    const std::int64_t arrays_before = digester.arrays;
    trace::encode(sent.message, digester, encoded);
    progress.messages += 1;
    progress.tensors += digester.arrays - arrays_before;
    const auto own = [&](const trace::ArrayInfo& info) { return find_in(sent.message, info); };
    const auto logged = [&](const trace::ArrayInfo& info) { return elements.find(info); };
    SLUICE_ASSIGN(auto found, trace::compare({event.message, logged}, {encoded.bytes(), own}));
    if (!found) return {};
    found->receiver = name(event.to);
    differ(event.from, std::move(*found), event.head.key);
    return {};
  }

  static Result<Tensor> find_in(const Message& message, const trace::ArrayInfo& info) {
    for (const auto& [name, tensor] : trace::tensors_of(message)) {
      if (tensor.has_storage() && tensor.dtype() == info.dtype && tensor.shape() == info.shape &&
          digest(std::span<const std::byte>(tensor.bytes(), tensor.size_bytes())) == info.digest)
        return tensor;
    }
    return failed("no such tensor");
  }

  Status take(const trace::ForwardEvent& event, trace::Elements&) {
    if (running(event.from) == nullptr) return {};
    std::deque<Made>& queue = made[event.from];
    if (queue.empty() || queue.front().message.via != event.from || queue.front().to != event.to) {
      part(event.from, "passes on a message to " + name(event.to), "passed on",
           queue.empty() ? "not" : words(queue.front().message), {});
      return {};
    }
    on_way[{event.from, event.to}].push_back(std::move(queue.front().message));
    queue.pop_front();
    return {};
  }

  Status take(const trace::TaskEvent& event, trace::Elements&) {
    if (running(event.actor) == nullptr) return {};
    const auto found = tasks.find({event.actor, event.id});
    if (found == tasks.end() || found->second.task.name != event.name ||
        found->second.task.key != event.key) {
      const std::string there = found == tasks.end() ? "not submitted" : found->second.task.name;
      part(event.actor, fmt::format("task {}", event.id), event.name, there, event.key);
      return {};
    }
    found->second.task.body(config.compute);
    found->second.task.body = nullptr;
    found->second.has_run = true;
    progress.tasks += 1;
    return {};
  }

  Status take(const trace::PayloadEvent& event, trace::Elements& elements) {
    elements.met(event);
    return {};
  }

  // Leaves the delivery in `next`, for run() to ask about before it happens.
  Status take(const trace::DeliveryEvent& event, trace::Elements&) {
    if (running(event.to) == nullptr) return {};
    std::deque<Made>& rest = made[event.to];
    if (!rest.empty()) {
      part_by_unsent(event.to, rest.front());
      return {};
    }
    Next out{event.to, {}, {}};
    out.delivered.sequence = event.sequence;
    SLUICE_TRY(event.task    ? take_task_done(event, out)
               : event.timer ? take_timer(event, out)
                             : take_message(event, out));
    next = std::move(out);
    return {};
  }

  struct Next {
    ActorIndex to = kNoActor;
    trace::Delivered delivered;
    Message message;
  };

  Status take_task_done(const trace::DeliveryEvent& event, Next& out) {
    const auto found = tasks.find({event.to, *event.task});
    if (found == tasks.end() || !found->second.has_run)
      return failed("the log says that a task of {} was done before it ran", name(event.to));
    out.delivered.what = fmt::format("{} done", found->second.task.name);
    out.delivered.key = found->second.task.key;
    out.message.body = actors::TaskDone{*event.task};
    tasks.erase(found);
    return {};
  }

  static Status take_timer(const trace::DeliveryEvent& event, Next& out) {
    out.delivered.what = "timer";
    out.message.body = actors::TimerFired{*event.timer};
    return {};
  }

  Status take_message(const trace::DeliveryEvent& event, Next& out) {
    std::deque<Message>& queue = on_way[{event.from, event.to}];
    if (queue.empty()) {
      return failed("the log says that {} got a message from {} that was not sent", name(event.to),
                    name(event.from));
    }
    out.message = std::move(queue.front());
    queue.pop_front();
    const Message& message = out.message;
    out.delivered = trace::describe(message, name(message.from), event.sequence);
    return {};
  }

  void note_step(const Message& message) {
    if (const auto* start = std::get_if<actors::StepStart>(&message.body)) steps.met(*start);
  }

  void deliver() {
    Next now = std::move(*next);
    next.reset();
    progress.deliveries += 1;
    Seat& seat = *running(now.to);
    seat.actor->on_message(*seat.gate, std::move(now.message));
  }

  // A log that was closed holds all that was sent.
  void check_rest(const trace::LogReader& log) {
    if (!log.closed()) return;
    for (const auto& [actor, queue] : made) {
      if (queue.empty()) continue;
      return part_by_unsent(actor, queue.front());
    }
  }

  Config config;
  std::vector<Seat> seats;
  std::map<ActorIndex, std::deque<Made>> made;
  std::map<std::pair<ActorIndex, ActorIndex>, std::deque<Message>> on_way;
  std::map<std::pair<ActorIndex, std::uint64_t>, Submitted> tasks;
  trace::StepNotes steps;
  std::optional<Next> next;  // a delivery that is about to happen
  std::optional<Difference> difference;
  Digester digester;
  Progress progress;
};

ReplayHost::ReplayHost(Config config) : state_(std::make_unique<State>(config)) {}
ReplayHost::~ReplayHost() { static_cast<void>(stop()); }

void ReplayHost::add(ActorIndex index, const graph::ActorPlan&,
                     std::unique_ptr<actors::Actor> actor) {
  State::Seat& seat = state_->seats.at(static_cast<std::size_t>(index));
  SLUICE_CHECK(seat.actor == nullptr && actor != nullptr, "actor {} twice", index);
  seat = {std::move(actor), std::make_unique<State::Gate>(*state_, index)};
}

Status ReplayHost::start() { return {}; }
void ReplayHost::send(ActorIndex, Message) {}

Result<std::optional<Message>> ReplayHost::receive_for(std::chrono::nanoseconds) {
  return failed("a replay has no outside");
}

Host::Activity ReplayHost::activity() const {
  return {static_cast<std::uint64_t>(state_->progress.deliveries), 0};
}

std::vector<std::optional<actors::Waiting>> ReplayHost::waiting(std::chrono::nanoseconds) {
  std::vector<std::optional<actors::Waiting>> out(state_->seats.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    if (state_->seats[i].actor != nullptr) out[i] = state_->seats[i].actor->waiting();
  return out;
}

Status ReplayHost::stop() {
  state_->tasks.clear();  // bodies first: they point into the actors
  state_->next.reset();
  for (State::Seat& seat : state_->seats) seat.actor = nullptr;
  return {};
}

Result<ReplayHost::End> ReplayHost::run(trace::LogReader& log, trace::Elements& elements,
                                        const Watch& watch) {
  State& state = *state_;
  if (state.next) state.deliver();  // it was asked about before
  while (!state.difference) {
    SLUICE_ASSIGN(const std::optional<trace::Record> record, log.next());
    if (!record) {
      state.check_rest(log);
      if (!state.difference) return End::kLogEnded;
      break;
    }
    SLUICE_ASSIGN(const trace::Event event, trace::parse(*record));
    SLUICE_TRY(std::visit([&](const auto& e) { return state.take(e, elements); }, event));
    state.progress.steps = state.steps.count();
    if (!state.next || state.difference) continue;
    if (watch && !watch(state.next->to, state.next->delivered, state.next->message))
      return End::kStopped;
    state.deliver();
  }
  return End::kDifference;
}

const std::optional<Difference>& ReplayHost::difference() const { return state_->difference; }
const ReplayHost::Progress& ReplayHost::progress() const { return state_->progress; }

}  // namespace sluice::host
