// Updates and snapshots of an owner's parameters.
#include "actors/owner.hpp"

#include <cstring>

#include "graph/model/optimizer.hpp"
#include "kernels/base/check.hpp"
#include "kernels/optimizer/adamw.hpp"

namespace sluice::actors {
namespace {

using kernels::ComputeContext;

GradientSquares squares(const ComputeContext& context, const model::ParameterSet& parameters) {
  GradientSquares out;
  for (const model::Parameter& p : parameters.all()) {
    if (p.gradient.empty() || p.is_replica) continue;
    out.entries.push_back({p.name, kernels::sum_of_squares(context, p.gradient.values<float>())});
  }
  return out;
}

// Elements that a task over gradients works on: its time grows with them.
double elements(std::span<const model::Parameter> parameters) {
  double sum = 0;
  for (const model::Parameter& p : parameters) {
    if (!p.gradient.empty()) sum += static_cast<double>(p.gradient.shape().count());
  }
  return sum;
}

Tensor copy(const ComputeContext& context, const Tensor& from) {
  if (from.empty()) return {};
  Tensor to = context.make(from.dtype(), from.shape());
  std::memcpy(to.bytes(), from.bytes(), from.size_bytes());
  return to;
}

std::vector<ParameterState> copy_state(const ComputeContext& context,
                                       const model::ParameterSet& parameters,
                                       SnapshotPurpose purpose) {
  std::vector<ParameterState> out;
  for (const model::Parameter& p : parameters.all()) {
    if (p.is_replica) continue;
    ParameterState state{p.name, p.kind, copy(context, p.master), {}, {}, {}, 0};
    if (purpose == SnapshotPurpose::kProbe) {
      state.gradient = copy(context, p.gradient);
    } else {
      state.m = copy(context, p.m);
      state.v = copy(context, p.v);
      state.updates = p.updates;
    }
    out.push_back(std::move(state));
  }
  return out;
}

}  // namespace

Owner::Owner(const Config& config)
    : FlowActor(config.self), parameters_(config.constants->recipe, config.use), config_(config) {
  for (const graph::ChannelPlan& c : plan().channels) {
    if (c.from == self()) open_channel(c.actor, c.credits);
  }
}

ActorIndex Owner::channel(ActorIndex to, graph::ChannelRole role) const {
  const graph::ChannelPlan* found = plan().channel(self(), to, role);
  SLUICE_CHECK(found != nullptr, "actor {} has no {} channel to {}", self(), graph::name_of(role),
               to);
  return found->actor;
}

std::int64_t Owner::sequences(const StepStart& start) const {
  return std::int64_t{start.micro_batches} * plan().options.micro_batch_size;
}

void Owner::on_control(Message message) {
  if (const auto* start = std::get_if<StepStart>(&message.body)) {
    on_step(*start);
  } else if (const auto* request = std::get_if<SnapshotRequest>(&message.body)) {
    snapshot(*request);
  } else {
    SLUICE_CHECK(false, "owner {}: unexpected message {}", self(), message.body.index());
  }
}

// All holders go through what they share in the same order, so nobody waits for a later one.
Async<Done> Owner::exchange(StepStart start) {
  for (Sum* sum : sums()) {
    if (!sum->chunk().other_holders.empty()) co_await exchange(start, sum);
  }
  co_return Done{};
}

Async<Done> Owner::exchange(StepStart start, Sum* sum) {
  const graph::ChunkPlan& chunk = sum->chunk();
  const std::vector<std::int32_t> others = chunk.other_holders;
  const double operations = elements(sum->parameters());
  const TaskSpec copy_task{
      .name = "share gradients", .operations = operations, .key = {start.step, 0, sum->id()}};
  std::vector<std::vector<Tensor>> routes(others.size() + 1);
  const auto own = static_cast<std::size_t>(chunk.route);
  routes[own] = co_await run(
      copy_task, [&](const ComputeContext& c) { return sum->copy(c); },
      [&] { return sum->shapes(); });
  std::vector<std::int64_t> counts = counts_of(*sum);
  for (const std::int32_t rank : others) {
    const Key key{start.step, 0, sum->id(), Topic::kGradientShare, chunk.route};
    Message share = make_message(key, GradientShare{routes[own], counts});
    co_await send(channel(peer(rank), graph::ChannelRole::kGradientShare), share);
  }
  for (std::size_t route = 0; route < routes.size(); ++route) {
    if (route == own) continue;
    const Key key{start.step, 0, sum->id(), Topic::kGradientShare,
                  static_cast<std::int32_t>(route)};
    Message message = co_await receive(key);
    GradientShare& share = std::get<GradientShare>(message.body);
    routes[route] = std::move(share.gradients);
    SLUICE_CHECK_EQ(share.counts.size(), counts.size());
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += share.counts[i];
  }
  take_counts(*sum, counts);
  const TaskSpec sum_task{
      .name = "sum gradients", .operations = operations, .key = {start.step, 0, sum->id()}};
  co_await run(sum_task, [&](const ComputeContext& c) { sum->take(c, routes); });
  co_return Done{};
}

Async<Done> Owner::finish_step(StepStart start) {
  if (start.mode == StepMode::kTrain || start.mode == StepMode::kGradient) {
    co_await exchange(start);
    for (Sum* sum : sums()) sum->begin();
  }
  if (start.mode == StepMode::kTrain) {
    const double operations = elements(parameters_.all());
    const TaskSpec norm_task{
        .name = "gradient norm", .operations = operations, .key = {start.step}};
    GradientSquares sums = co_await run(
        norm_task, [this](const ComputeContext& c) { return squares(c, parameters_); });
    post(plan().reducer,
         make_message({start.step, 0, 0, Topic::kSquares, self()}, std::move(sums)));
    const Key update_key{start.step, 0, 0, Topic::kUpdate, 0};
    const Message answer = co_await receive(update_key);
    const ApplyUpdate apply = std::get<ApplyUpdate>(answer.body);
    const TaskSpec update_task{.name = "optimizer", .operations = operations, .key = {start.step}};
    co_await run(update_task, [this, apply](const ComputeContext& c) {
      update(c, apply);
      update_by_counts();
    });
  }
  post(plan().supervisor, make_message({start.step, 0, 0, Topic::kOwnerDone, self()}, OwnerDone{}));
  co_return Done{};
}

void Owner::update(const ComputeContext& context, const ApplyUpdate& apply) {
  model::AdamW adamw;
  adamw.learning_rate = apply.learning_rate;
  adamw.beta1 = config_.optimizer.adam_beta1;
  adamw.beta2 = config_.optimizer.adam_beta2;
  adamw.epsilon = config_.optimizer.adam_epsilon;
  adamw.weight_decay = config_.optimizer.weight_decay;
  adamw.gradient_scale = apply.scale;
  adamw.update(context, parameters_);
  parameters_.clear_gradients(context);
}

Flow Owner::snapshot(SnapshotRequest request) {
  const TaskSpec spec{.name = "snapshot", .key = {request.index}};
  std::vector<ParameterState> state = co_await run(spec, [this, request](const ComputeContext& c) {
    std::vector<ParameterState> copied = copy_state(c, parameters_, request.purpose);
    if (request.purpose == SnapshotPurpose::kProbe) parameters_.clear_gradients(c);
    return copied;
  });
  const Key key{request.index, 0, 0, Topic::kSnapshot, self()};
  SnapshotPart part{request.index, request.purpose, std::move(state)};
  if (request.purpose == SnapshotPurpose::kProbe) {
    post(plan().supervisor, make_message(key, std::move(part)));
  } else {
    post(plan().checkpointer, make_message(key, std::move(part)));
    post(plan().supervisor, make_message(key, OwnerDone{}));
  }
}

}  // namespace sluice::actors
