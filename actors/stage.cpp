// A stage's chunks and programs: which passes are under way. What a pass does is in
// stage_forward.cpp, stage_backward.cpp, stage_weights.cpp and stage_generate.cpp.
#include "actors/stage.hpp"

#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::actors {

namespace {

// Of sums that are no layer's: below all layers, so that every holder exchanges in this order.
constexpr std::int32_t kEmbeddingSum = -3, kNormSum = -2, kHeadSum = -1;

}  // namespace

Stage::Stage(const Config& config, const graph::StagePlan& stage, Options options)
    : Owner(config),
      stage_(stage),
      options_(options),
      batch_(model::make_batch(plan().options.micro_batch_size, plan().options.sequence_length)) {
  mtp_.reserve(static_cast<std::size_t>(config.constants->config.num_nextn_predict_layers));
  for (const graph::ChunkPlan& chunk : stage_.chunks) {
    if (chunk.is_first) {
      embedding_.emplace(config.constants, parameters_);
      embedding_sum_.emplace(parameters_, plan(), chunk, kEmbeddingSum,
                             parameters_.all().size() - 1);
    }
    add_layers(chunk);
    if (chunk.is_last) add_ends(chunk);
  }
}

void Stage::add_layers(const graph::ChunkPlan& chunk) {
  const auto& constants = config().constants;
  for (std::int32_t l = chunk.layer_first; l < chunk.layer_last; ++l) {
    const std::size_t first = parameters_.all().size();
    model::DecoderLayer& made = main_layers_.emplace_back(constants, l, parameters_);
    layers_.emplace(l, Layer{&made, nullptr, Sum(parameters_, plan(), chunk, l, first), {}});
    if (made.is_moe())
      layer(l).loads.assign(static_cast<std::size_t>(constants->config.n_routed_experts), 0);
  }
}

// Final norm, head, and the depths of multi-token prediction.
void Stage::add_ends(const graph::ChunkPlan& chunk) {
  const auto& constants = config().constants;
  const auto next = [this] { return parameters_.all().size(); };
  const std::size_t norm_first = next();
  norm_.emplace(constants, "model.norm.weight", parameters_);
  norm_sum_.emplace(parameters_, plan(), chunk, kNormSum, norm_first);
  const std::size_t head_first = next();
  head_.emplace(constants, parameters_);
  head_sum_.emplace(parameters_, plan(), chunk, kHeadSum, head_first);
  for (std::int32_t depth = 1; depth <= constants->config.num_nextn_predict_layers; ++depth) {
    const std::size_t first = next();
    model::MtpModule& module = mtp_.emplace_back(constants, depth, parameters_);
    const std::int32_t index = mtp_layer(depth);
    layers_.emplace(
        index, Layer{&module.layer(), &module, Sum(parameters_, plan(), chunk, index, first), {}});
    if (module.layer().is_moe())
      layer(index).loads.assign(static_cast<std::size_t>(constants->config.n_routed_experts), 0);
  }
}

std::int32_t Stage::mtp_layer(std::int32_t depth) const {
  return static_cast<std::int32_t>(config().constants->config.num_hidden_layers) + depth - 1;
}

std::vector<Owner::Sum*> Stage::sums() {
  std::vector<Sum*> out;
  for (std::optional<Sum>* end : {&embedding_sum_, &norm_sum_, &head_sum_}) {
    if (*end) out.push_back(&**end);
  }
  for (auto& [index, layer] : layers_) out.push_back(&layer.gradients);
  return out;
}

std::vector<std::int64_t> Stage::counts_of(const Sum& sum) {
  return sum.id() < 0 ? std::vector<std::int64_t>{} : layer(sum.id()).loads;
}

void Stage::take_counts(const Sum& sum, std::span<const std::int64_t> counts) {
  if (sum.id() >= 0) layer(sum.id()).loads.assign(counts.begin(), counts.end());
}

ActorIndex Stage::peer(std::int32_t pipeline_rank) const {
  return plan().stages[static_cast<std::size_t>(pipeline_rank)].actor;
}

std::vector<float> Stage::row_gradients(const StepStart& start) const {
  const auto rows = static_cast<double>(sequences(start) * plan().options.sequence_length);
  const auto row = static_cast<float>(1.0 / rows);
  std::vector<float> out{row};
  const double weight = config().loss.mtp_lambda / static_cast<double>(mtp_depth());
  for (std::size_t k = 0; k < mtp_.size(); ++k) out.push_back(static_cast<float>(weight) * row);
  return out;
}

void Stage::on_step(StepStart start) {
  for (auto& [index, layer] : layers_) std::fill(layer.loads.begin(), layer.loads.end(), 0);
  if (start.mode == StepMode::kGenerate) {
    run_generation(start);
  } else {
    run_program(start);
  }
}

Flow Stage::run_program(StepStart start) {
  const bool training = start.mode != StepMode::kEvaluate;
  const graph::Placement dealt = plan().placement.with_micro_batches(start.micro_batches);
  const graph::Program program =
      training ? stage_.program : graph::forward_program(dealt, stage_.pipeline_rank);
  const std::int32_t window = 1 + plan().options.run_ahead;
  slots_.reset(window);
  for (auto& [channel, turns] : send_turns_) turns.reset();
  activations_.reset(stage_.activation_credits);
  std::vector<Turns> turns(stage_.chunks.size());
  for (std::size_t i = 0; i < program.size(); ++i) {
    const graph::PassKind kind = program[i].passes().front().kind;
    SLUICE_SOMETIMES(slots_.count() == 0, "a pass waits for a place in the window");
    if (kind != graph::PassKind::kBackwardWeight) co_await slots_.acquire(*this);
    const bool takes_buffer = kind == graph::PassKind::kForward && training;
    SLUICE_SOMETIMES(takes_buffer && activations_.count() == 0,
                     "a forward pass waits for an activation buffer");
    if (takes_buffer) co_await activations_.acquire(*this);
    begin(start, dealt, program[i], i, turns);
  }
  for (std::int32_t i = 0; i < window; ++i) co_await slots_.acquire(*this);
  for (std::int32_t i = 0; i < stage_.activation_credits; ++i) co_await activations_.acquire(*this);
  co_await finish_step(start);
}

// Priorities: earlier actions first. Inside a pair the input gradient comes before the forward
// pass, since the longer way back hangs on it; weight gradients fill what both leave. On its own a
// backward pass does a layer's weights as soon as it can, which frees what the layer kept.
void Stage::begin(const StepStart& start, const graph::Placement& dealt,
                  const graph::Action& action, std::size_t index, std::vector<Turns>& turns) {
  const auto base = static_cast<std::int32_t>(3 * index);
  passes_under_way_[index] = static_cast<std::int32_t>(action.passes().size());
  for (const graph::Pass& planned : action.passes()) {
    const graph::ChunkPlan& chunk = stage_.chunks[static_cast<std::size_t>(planned.chunk)];
    Pass pass;
    pass.start = start;
    pass.chunk = &chunk;
    pass.micro_batch = dealt.micro_batch_first(chunk.route) + planned.micro_batch;
    pass.action = index;
    pass.priority = pass.weights_priority = base;
    pass.keep = start.mode != StepMode::kEvaluate;
    pass.live = &live_[{chunk.stage, pass.micro_batch}];
    Turns& next = turns[static_cast<std::size_t>(planned.chunk)];
    if (planned.kind != graph::PassKind::kBackwardWeight)
      pass.turn = planned.kind == graph::PassKind::kForward ? next.forward++ : next.backward++;
    switch (planned.kind) {
      case graph::PassKind::kForward:
        if (action.is_pair()) pass.priority = base + 1;
        forward_pass(pass);
        break;
      case graph::PassKind::kBackward:
        if (action.is_pair()) pass.weights_priority = base + 2;
        backward_pass(pass);
        break;
      case graph::PassKind::kBackwardInput:
        pass.weights_later = true;
        backward_pass(pass);
        break;
      case graph::PassKind::kBackwardWeight:
        pass.weights_go = true;
        passes_under_way_.erase(index);
        weight_pass(pass);
        break;
    }
  }
}

Async<Done> Stage::send_in_turn(Pass pass, ActorIndex channel, Message message) {
  Turnstile* turns = &send_turns_[channel];
  co_await turns->turn(pass.turn);
  co_await send(channel, message);
  turns->pass(*this);
  co_return Done{};
}

void Stage::leave_window(const Pass& pass) {
  const auto found = passes_under_way_.find(pass.action);
  if (--found->second > 0) return;
  passes_under_way_.erase(found);
  slots_.release(*this);
}

Flow Stage::forward_pass(Pass pass) {
  pass.live->batch = batch_;
  Tensor x = co_await enter(pass);
  for (std::int32_t l = pass.chunk->layer_first; l < pass.chunk->layer_last; ++l) {
    x = co_await forward_layer(pass, l, std::move(x));
  }
  co_await leave(pass, std::move(x));
  pass.live->forward_done.release(*this);
  if (!pass.keep) live_.erase({pass.chunk->stage, pass.micro_batch});
  leave_window(pass);
}

// B or I. The gradient goes on before weight gradients are awaited.
Flow Stage::backward_pass(Pass pass) {
  SLUICE_SOMETIMES(pass.live->forward_done.count() == 0,
                   "a backward pass overtakes its forward pass");
  co_await pass.live->forward_done.acquire(*this);  // it may be under way when this runs ahead
  Tensor dx;
  if (pass.chunk->is_last) {
    dx = co_await backward_heads(pass);
  } else {
    dx = co_await receive_gradient(pass);
  }
  for (std::int32_t l = pass.chunk->layer_last - 1; l >= pass.chunk->layer_first; --l) {
    dx = co_await backward_layer(pass, l, std::move(dx));
    if (!pass.weights_later) layer_weights(pass, l);
  }
  co_await leave_backward(pass, std::move(dx));
  pass.live->input_done.release(*this);
  leave_window(pass);
  if (!pass.weights_later) co_await finish_weights(pass);
}

Flow Stage::weight_pass(Pass pass) {
  SLUICE_SOMETIMES(pass.live->input_done.count() == 0, "a weight pass overtakes its input pass");
  co_await pass.live->input_done.acquire(*this);
  if (pass.chunk->is_last) {
    head_weights(pass);
    for (std::int32_t depth = mtp_depth(); depth >= 1; --depth)
      layer_weights(pass, mtp_layer(depth));
    norm_weights(pass);
  }
  for (std::int32_t l = pass.chunk->layer_last - 1; l >= pass.chunk->layer_first; --l) {
    layer_weights(pass, l);
  }
  if (pass.chunk->is_first) embedding_weights(pass);
  co_await finish_weights(pass);
}

void Stage::report_balance(const Pass& pass, std::int32_t index, double balance,
                           const std::vector<std::int64_t>& loads) {
  Layer& here = layer(index);
  if (pass.start.mode == StepMode::kTrain) {
    for (std::size_t i = 0; i < loads.size(); ++i) here.loads[i] += loads[i];
  }
  post(plan().sink, make_message(pass.key(Topic::kBalance, index), BalancePart{balance, loads}));
}

void Stage::update_by_counts() {
  for (auto& [index, layer] : layers_) {
    if (!layer.layer->is_moe()) continue;
    layer.layer->update_bias(layer.loads, static_cast<float>(config().loss.bias_gamma));
  }
}

void Stage::observe(const Pass& pass, std::string name, Tensor tensor) {
  if (pass.start.mode == StepMode::kTrain) return;
  Key key = pass.key(Topic::kControl);
  post(plan().supervisor, make_message(key, Observed{std::move(name), std::move(tensor)}));
}

}  // namespace sluice::actors
