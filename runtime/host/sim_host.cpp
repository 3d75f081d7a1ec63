// The event queue, lanes in virtual time, and the order in which things happen.
#include "runtime/host/sim_host.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/base/check.hpp"
#include "kernels/base/digest.hpp"
#include "kernels/base/random.hpp"
#include "runtime/host/sim_queue.hpp"

namespace sluice::host {
namespace {

using actors::Message;
using graph::kNoActor;
using graph::kOutside;

struct Delivery {
  ActorIndex to = kNoActor;
  std::int64_t bytes = 0;
  Message message;
};

using LaneKey = std::pair<std::int32_t, actors::Lane>;

struct Submitted {
  ActorIndex actor = kNoActor;
  actors::Task task;
  std::int64_t submitted_ns = 0;
};

struct TaskEnd {
  LaneKey lane;
  Submitted what;  // its body is empty if it ran at the start
  std::int64_t started_ns = 0;
};

/// A transfer may have ended.
struct PortEvent {};

using Event = std::variant<std::monostate, Delivery, TaskEnd, LinkEvent, PortEvent>;

struct OnLink {
  ActorIndex from = kNoActor;
  ActorIndex to = kNoActor;
  std::int64_t latency_ns = 0;
  Message message;
};

struct Lane {
  bool busy = false;
  SimQueue<Submitted> queue;  // by priority, then order
  SimHost::LaneStatistics statistics;
};

}  // namespace

struct SimHost::State final : FaultyLinks::Port {
  class Gate final : public actors::Context {
   public:
    Gate(State& state, ActorIndex self) : state_(state), self_(self) {}
    void send(ActorIndex to, Message message) override {
      state_.send(self_, to, std::move(message));
    }
    void submit(actors::Task task) override { state_.submit(self_, std::move(task)); }
    void set_timer(double seconds, std::uint64_t timer) override {
      const auto ns = static_cast<std::int64_t>(std::llround(seconds * 1e9));
      state_.push(state_.now_ns + std::max<std::int64_t>(ns, 0),
                  Delivery{self_, 0, Message{.body = actors::TimerFired{timer}}});
    }

   private:
    State& state_;
    ActorIndex self_;
  };

  struct Seat {
    graph::ActorPlan place;
    std::unique_ptr<actors::Actor> actor;
    std::unique_ptr<Gate> gate;
    bool is_dead = false;
    ActorStatistics statistics;
    std::vector<std::pair<ActorIndex, std::int64_t>> arrivals;  // the last one at each receiver
    std::int64_t waiting = 0;
    std::int64_t waiting_bytes = 0;
  };

  explicit State(Config c) : config(std::move(c)), random(config.seed, RandomPurpose::kSimulation) {
    SLUICE_CHECK(!config.faults || !config.links, "links with faults have no bandwidth");
    if (config.faults) links.emplace(*config.faults, config.seed, *this);
    if (config.links) ports.emplace(config.links->ports());
  }

  Seat& seat(ActorIndex index) {
    SLUICE_CHECK(index >= 0 && index < static_cast<ActorIndex>(seats.size()) &&
                     seats[static_cast<std::size_t>(index)].actor != nullptr,
                 "no actor {}", index);
    return seats[static_cast<std::size_t>(index)];
  }

  std::int64_t draw(Range range) {
    SLUICE_CHECK(range.min_ns >= 0 && range.max_ns >= range.min_ns);
    const auto span = static_cast<std::uint64_t>(range.max_ns - range.min_ns) + 1;
    return range.min_ns + static_cast<std::int64_t>(random.below(span, draws++));
  }

  template <class E>
  void push(std::int64_t time_ns, E&& event) {
    events.push(time_ns, random.bits(draws++))
        .template emplace<std::decay_t<E>>(std::forward<E>(event));
  }

  // Messages of one pair stay in order: each arrives at least a nanosecond after the one before.
  void send(ActorIndex from, ActorIndex to, Message&& message) {
    if (stopping) return;
    if (config.observer != nullptr) config.observer->on_send(from, to, message, now_ns);
    if (from != kOutside && to != kOutside) {
      if (ports) {
        if (auto route = route_of(message, rank_of(from), rank_of(to)))
          return transfer(from, to, std::move(message), std::move(*route));
      } else if (links && rank_of(from) != rank_of(to)) {
        return links->send(from, to, std::move(message), now_ns);
      }
    }
    const std::int64_t delay = delay_ns(message, to);
    arrive(from, to, std::move(message), now_ns + delay);
  }

  std::optional<ClusterLinks::Route> route_of(const Message& message, std::int32_t from,
                                              std::int32_t to) const {
    if (config.route_model) {
      if (auto route = config.route_model(message, from, to)) return route;
    }
    if (from == to) return std::nullopt;
    return config.links->route(
        from, to, config.message_bytes ? config.message_bytes(message) : size_bytes(message));
  }

  void transfer(ActorIndex from, ActorIndex to, Message&& message, ClusterLinks::Route route) {
    const auto id = ports->begin(std::move(route.uses), now_ns);
    on_links.emplace(id, OnLink{from, to, route.latency_ns, std::move(message)});
    watch_ports();
  }

  // Wakes at the next end; what begins later may put that off, so a wake may find nothing.
  void watch_ports() {
    const auto next = ports->next_end_ns();
    if (!next || (watched_ns && *watched_ns == *next)) return;
    watched_ns = next;
    push(*next, PortEvent{});
  }

  void arrive(ActorIndex from, ActorIndex to, Message&& message, std::int64_t time_ns) {
    std::int64_t& last = last_arrival(from, to);
    last = std::max(last + 1, time_ns);
    post(last, to, std::move(message));
  }

  // A sender has few receivers.
  std::int64_t& last_arrival(ActorIndex from, ActorIndex to) {
    auto& arrivals = from == kOutside ? from_outside : seat(from).arrivals;
    for (auto& [receiver, time_ns] : arrivals) {
      if (receiver == to) return time_ns;
    }
    return arrivals.emplace_back(to, -1).second;
  }

  // ---- What links ask for

  void schedule(std::int64_t time_ns, LinkEvent event) override { push(time_ns, event); }
  std::int64_t delay_ns(const Message& message, ActorIndex to) override {
    return config.message_model ? config.message_model(message, to) : draw(config.message);
  }
  void hand_over(ActorIndex from, ActorIndex to, Message message) override {
    arrive(from, to, std::move(message), now_ns);
  }
  std::int32_t rank_of(ActorIndex actor) const override {
    return seats[static_cast<std::size_t>(actor)].place.rank;
  }
  bool is_dead(ActorIndex actor) const {
    if (actor == kOutside) return false;
    return seats[static_cast<std::size_t>(actor)].is_dead ||
           (config.faults && config.faults->is_dead(rank_of(actor), now_ns));
  }

  void post(std::int64_t time_ns, ActorIndex to, Message&& message) {
    const std::int64_t bytes = size_bytes(message);
    if (to != kOutside) {
      Seat& receiver = seat(to);
      receiver.statistics.waiting_max =
          std::max(receiver.statistics.waiting_max, ++receiver.waiting);
      receiver.waiting_bytes += bytes;
      receiver.statistics.waiting_bytes_max =
          std::max(receiver.statistics.waiting_bytes_max, receiver.waiting_bytes);
    }
    push(time_ns, Delivery{to, bytes, std::move(message)});
  }

  LaneKey lane_key(std::int32_t rank, actors::Lane lane) const {
    return {config.ranks_share_lanes ? 0 : rank, lane};
  }

  void submit(ActorIndex from, actors::Task task) {
    if (stopping) return;
    const LaneKey key = lane_key(seat(from).place.rank, task.lane);
    Lane& lane = lanes[key];
    lane.queue.push(task.priority) = Submitted{from, std::move(task), now_ns};
    if (!lane.busy) start_task(key, lane, config.lane_wake_ns);
  }

  // A body runs at the start or at the end of its time, as drawn: a task that reads what another
  // one writes meanwhile then shows.
  void start_task(LaneKey key, Lane& lane, std::int64_t late_ns = 0) {
    Submitted next;
    lane.queue.pop([&next](std::int64_t, Submitted& first) { next = std::move(first); });
    const std::int32_t rank = seat(next.actor).place.rank;
    std::int64_t duration =
        config.task_model ? config.task_model(next.task, rank) : draw(config.task);
    if (config.faults) duration = config.faults->slowed(duration, rank, now_ns);
    lane.busy = true;
    lane.statistics.tasks += 1;
    lane.statistics.busy_ns += duration;
    lane.statistics.idle_ns = now_ns + late_ns + duration - lane.statistics.busy_ns;
    if (config.observer != nullptr)
      config.observer->on_start(next.actor, next.task, now_ns + late_ns);
    if (random.below(2, draws++) == 0) run_body(next.task);
    push(now_ns + late_ns + duration, TaskEnd{key, std::move(next), now_ns + late_ns});
  }

  void run_body(actors::Task& task) {
    if (task.body == nullptr) return;
    if (config.run_bodies) {
      task.body(config.compute);
    } else if (task.stand_in != nullptr) {
      task.stand_in();
    }
    task.body = nullptr;
  }

  void happen(std::monostate) {}

  void happen(TaskEnd& end) {
    const ActorIndex actor = end.what.actor;
    if (is_dead(actor)) return;
    run_body(end.what.task);
    if (config.observer != nullptr) {
      config.observer->on_task(actor, end.what.task,
                               {end.what.submitted_ns, end.started_ns, now_ns});
    }
    Message done{.body = actors::TaskDone{end.what.task.id}};
    const std::int64_t delay = delay_ns(done, actor);
    post(now_ns + delay, actor, std::move(done));
    Lane& lane = lanes[end.lane];
    lane.busy = false;
    if (!lane.queue.empty()) start_task(end.lane, lane);
  }

  void happen(PortEvent) {
    if (watched_ns && *watched_ns == now_ns) watched_ns.reset();
    for (const SharedPorts::Transfer id : ports->end(now_ns)) {
      const auto found = on_links.find(id);
      OnLink& done = found->second;
      arrive(done.from, done.to, std::move(done.message), now_ns + done.latency_ns);
      on_links.erase(found);
    }
    watch_ports();
  }

  void happen(LinkEvent& event) {
    const std::array<std::int64_t, 4> facts{now_ns, static_cast<std::int64_t>(event.kind),
                                            static_cast<std::int64_t>(event.link),
                                            static_cast<std::int64_t>(event.number)};
    trace = digest(std::as_bytes(std::span(facts)), trace);
    links->happen(event, now_ns);
  }

  void happen(Delivery& delivery) {
    Message& message = delivery.message;
    if (is_dead(delivery.to)) return;
    const std::array<std::int64_t, 9> facts{now_ns,
                                            message.from,
                                            delivery.to,
                                            message.key.step,
                                            message.key.micro_batch,
                                            message.key.layer,
                                            static_cast<std::int64_t>(message.key.topic),
                                            message.key.part,
                                            static_cast<std::int64_t>(message.body.index())};
    trace = digest(std::as_bytes(std::span(facts)), trace);
    if (delivery.to == kOutside) {
      outside.push_back(std::move(message));
      return;
    }
    Seat& receiver = seat(delivery.to);
    if (!std::holds_alternative<actors::TimerFired>(message.body)) {
      --receiver.waiting;
      receiver.waiting_bytes -= delivery.bytes;
    }
    receiver.statistics.messages += 1;
    ++messages_handled;
    if (config.observer != nullptr) config.observer->on_delivery(delivery.to, message, now_ns);
    receiver.actor->on_message(*receiver.gate, std::move(message));
  }

  Status step() {
    if (events_done == config.events_max) {
      return failed("simulation: more than {} events without an end", config.events_max);
    }
    ++events_done;
    events.pop([this](std::int64_t time_ns, Event& event) {
      now_ns = std::max(now_ns, time_ns);
      std::visit([this](auto& what) { happen(what); }, event);
    });
    if (links && links->lost_rank()) return lost_error(*links->lost_rank());
    return {};
  }

  tl::unexpected<Error> lost_error(std::int32_t rank) const {
    std::string names;
    for (const Seat& seat : seats) {
      const bool is_worker = seat.place.kind != graph::ActorKind::kChannel;
      if (seat.actor == nullptr || seat.place.rank != rank || !is_worker) continue;
      names += (names.empty() ? "" : ", ") + seat.place.name;
    }
    return failed(
        "the worker of rank {} ({}) is lost: it has not answered for too long, seen at {:.3f} ms; "
        "go on from the last checkpoint",
        rank, names, static_cast<double>(now_ns) * 1e-6);
  }

  tl::unexpected<Error> quiet_error() const {
    std::string waiting;
    for (const Seat& seat : seats) {
      if (seat.actor == nullptr || seat.actor->idle()) continue;
      waiting += (waiting.empty() ? "" : ", ") + seat.place.name;
    }
    return failed("simulation, seed {}: nothing is left to happen; {}", config.seed,
                  waiting.empty() ? "every actor is idle" : "still waiting: " + waiting);
  }

  Config config;
  Random random;
  std::uint64_t draws = 0;
  std::int64_t now_ns = 0;
  std::int64_t events_done = 0;
  std::uint64_t messages_handled = 0;
  std::uint64_t trace = 0;
  bool started = false;
  bool stopping = false;
  std::vector<Seat> seats;
  SimQueue<Event> events;
  std::vector<std::pair<ActorIndex, std::int64_t>> from_outside;
  std::map<LaneKey, Lane> lanes;
  std::deque<Message> outside;
  std::optional<FaultyLinks> links;
  std::optional<SharedPorts> ports;
  std::map<SharedPorts::Transfer, OnLink> on_links;
  std::optional<std::int64_t> watched_ns;  // when a PortEvent comes
};

SimHost::SimHost(Config config) : state_(std::make_unique<State>(std::move(config))) {}

SimHost::~SimHost() { static_cast<void>(stop()); }

void SimHost::add(ActorIndex index, const graph::ActorPlan& place,
                  std::unique_ptr<actors::Actor> actor) {
  SLUICE_CHECK(!state_->started && index >= 0 && actor != nullptr);
  const auto slot = static_cast<std::size_t>(index);
  if (state_->seats.size() <= slot) state_->seats.resize(slot + 1);
  State::Seat& seat = state_->seats[slot];
  SLUICE_CHECK(seat.actor == nullptr, "actor {} twice", index);
  seat.place = place;
  seat.actor = std::move(actor);
  seat.gate = std::make_unique<State::Gate>(*state_, index);
}

Status SimHost::start() {
  state_->started = true;
  return {};
}

void SimHost::send(ActorIndex to, Message message) {
  SLUICE_CHECK(state_->started);
  message.from = kOutside;
  state_->send(kOutside, to, std::move(message));
}

Result<std::optional<Message>> SimHost::receive_for(std::chrono::nanoseconds wait_max) {
  State& state = *state_;
  const std::int64_t end_ns =
      wait_max == std::chrono::nanoseconds::max() ? INT64_MAX : state.now_ns + wait_max.count();
  while (state.outside.empty()) {
    if (state.events.empty()) return state.quiet_error();
    if (state.events.next_time_ns() > end_ns) {
      state.now_ns = end_ns;
      return std::nullopt;
    }
    SLUICE_TRY(state.step());
  }
  Message message = std::move(state.outside.front());
  state.outside.pop_front();
  return message;
}

Host::Activity SimHost::activity() const {
  Activity out{state_->messages_handled, 0};
  for (const auto& [key, lane] : state_->lanes) out.tasks += lane.busy ? 1 : 0;  // others queue
  return out;
}

bool SimHost::is_quiet() const { return state_->events.empty(); }

std::vector<std::optional<actors::Waiting>> SimHost::waiting(std::chrono::nanoseconds) {
  std::vector<std::optional<actors::Waiting>> out(state_->seats.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const State::Seat& seat = state_->seats[i];
    if (seat.actor != nullptr && !state_->is_dead(static_cast<ActorIndex>(i)))
      out[i] = seat.actor->waiting();
  }
  return out;
}

void SimHost::kill(ActorIndex index) { state_->seat(index).is_dead = true; }

Status SimHost::stop() {
  state_->stopping = true;
  state_->events.clear();  // bodies first: they point into the actors
  for (auto& [key, lane] : state_->lanes) lane.queue.clear();
  state_->links.reset();
  for (State::Seat& seat : state_->seats) seat.actor = nullptr;
  return {};
}

Status SimHost::run_until_quiet() {
  while (!state_->events.empty()) SLUICE_TRY(state_->step());
  return {};
}

Status SimHost::run_until(const std::function<bool()>& done) {
  while (!done()) {
    if (state_->events.empty()) return state_->quiet_error();
    SLUICE_TRY(state_->step());
  }
  return {};
}

std::int64_t SimHost::now_ns() const { return state_->now_ns; }
std::int64_t SimHost::events() const { return state_->events_done; }
std::uint64_t SimHost::trace_digest() const { return state_->trace; }
std::uint64_t SimHost::next_random() const { return state_->random.bits(state_->draws); }

SimHost::LaneStatistics SimHost::lane(std::int32_t rank, actors::Lane lane) const {
  const auto found = state_->lanes.find(state_->lane_key(rank, lane));
  return found == state_->lanes.end() ? LaneStatistics{} : found->second.statistics;
}

const SimHost::ActorStatistics& SimHost::actor(ActorIndex index) const {
  return state_->seats.at(static_cast<std::size_t>(index)).statistics;
}

}  // namespace sluice::host
