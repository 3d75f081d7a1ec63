// Makes every actor of a plan and hands it to the host.
#include "runtime/engine/cluster.hpp"

#include <algorithm>

#include "actors/channel.hpp"
#include "actors/expert_group.hpp"
#include "actors/reducer.hpp"
#include "actors/sink.hpp"
#include "actors/stage.hpp"
#include "actors/wait_graph.hpp"
#include "graph/model/summary.hpp"
#include "graph/plan_check.hpp"
#include "runtime/engine/clock.hpp"
#include "runtime/engine/process_memory.hpp"
#include "runtime/host/caf_host.hpp"

namespace sluice::engine {
namespace {

// A hang is explained within a second after progress stops.
constexpr auto kLookEvery = std::chrono::milliseconds(50);
constexpr auto kStillMax = std::chrono::milliseconds(600);
constexpr auto kAnswerMax = std::chrono::milliseconds(150);

std::vector<std::int32_t> moe_layers(const model::ModelConfig& config) {
  std::vector<std::int32_t> out;
  for (std::int64_t l = 0; l < config.layer_count(); ++l) {
    if (config.is_moe(l)) out.push_back(static_cast<std::int32_t>(l));
  }
  return out;
}

// Before any of it is taken: what the plan foresees, and tables that grow with the positions.
Status check_memory(const graph::Plan& plan, const ClusterOptions& options) {
  if (options.use == model::ParameterUse::kShapes) return {};
  double bytes = 0;
  for (const graph::RankMemory& rank : plan.memory) bytes += static_cast<double>(rank.total());
  const bool has_caches = options.use == model::ParameterUse::kInference;
  const std::int64_t width =
      options.model.qk_rope_head_dim +
      (has_caches ? options.model.num_hidden_layers *
                        (options.model.kv_lora_rank + options.model.qk_rope_head_dim)
                  : 0);
  bytes += static_cast<double>(options.positions_max) * static_cast<double>(width) * sizeof(float);
  const auto available = static_cast<double>(memory_bytes_max());
  if (bytes <= available) return {};
  return invalid_input(
      "the model and its run need about {:.1f} GB of memory, but there are {:.1f} GB; make the "
      "model, train.micro_batch_size or the sequences smaller",
      bytes / 1e9, available / 1e9);
}

std::unique_ptr<host::Host> live_host(device::CpuDevice& device, host::Observer* observer) {
  host::CafHost::Config config;
  config.observer = observer;
  config.device = [&device](std::int32_t rank) { return &device.of_rank(rank); };
  return std::make_unique<host::CafHost>(std::move(config));
}

}  // namespace

Result<graph::Plan> plan_of(const ClusterOptions& options) {
  SLUICE_TRY(options.model.validate());
  const graph::ModelSummary summary =
      model::summarize(options.model, options.recipe, options.plan.sequence_length, options.use);
  graph::PlanOptions wanted = options.plan;
  wanted.checkpoints =
      options.supervisor.checkpoint_every > 0 || options.supervisor.checkpoint_at_end;
  SLUICE_ASSIGN(graph::Plan plan, graph::make_plan(summary, wanted));
  SLUICE_TRY(graph::check_plan(plan));
  return plan;
}

Result<std::unique_ptr<Cluster>> Cluster::create(ClusterOptions options) {
  std::unique_ptr<Cluster> cluster(new Cluster);
  if (options.plan_made) {
    cluster->plan_ = std::move(*options.plan_made);
  } else {
    SLUICE_ASSIGN(cluster->plan_, plan_of(options));
  }
  SLUICE_TRY(check_memory(cluster->plan_, options));
  cluster->device_ = std::make_unique<device::CpuDevice>(options.device);
  cluster->host_ = options.host ? options.host(*cluster->device_)
                                : live_host(*cluster->device_, options.observer);
  cluster->on_stall_ = options.on_stall;
  cluster->add_actors(options);
  return cluster;
}

Cluster::~Cluster() {
  host_.reset();  // actors and the tensors they hold go before the device
}

void Cluster::add_actors(const ClusterOptions& options) {
  const std::int64_t positions =
      options.positions_max > 0 ? options.positions_max : options.plan.sequence_length;
  const auto constants = model::make_constants(options.model, options.recipe, positions);
  const auto is_here = [&options](graph::ActorIndex index) {
    return !options.includes || options.includes(index);
  };
  const auto add = [&](graph::ActorIndex index, std::unique_ptr<actors::Actor> actor) {
    if (is_here(index))
      host_->add(index, plan_.actors[static_cast<std::size_t>(index)], std::move(actor));
  };

  actors::Owner::Config owner;
  owner.plan = &plan_;
  owner.constants = constants;
  owner.use = options.use;
  owner.loss = options.loss;
  owner.optimizer = options.optimizer;
  for (const graph::StagePlan& stage : plan_.stages) {
    if (!is_here(stage.actor)) continue;
    owner.self = stage.actor;
    auto actor = std::make_unique<actors::Stage>(
        owner, stage, actors::Stage::Options{options.observe, positions});
    owners_.push_back({stage.actor, &actor->parameters()});
    add(stage.actor, std::move(actor));
  }
  for (const graph::ExpertGroupPlan& group : plan_.expert_groups) {
    if (!is_here(group.actor)) continue;
    owner.self = group.actor;
    auto actor = std::make_unique<actors::ExpertGroup>(owner, group);
    owners_.push_back({group.actor, &actor->parameters()});
    add(group.actor, std::move(actor));
  }
  for (const graph::ChannelPlan& channel : plan_.channels) {
    const graph::LinkOptions link =
        channel.from == plan_.source ? graph::LinkOptions{} : plan_.options.link;
    add(channel.actor, std::make_unique<actors::Channel>(actors::Channel::Config{
                           channel.actor, channel.from, channel.to, channel.credits, link}));
  }
  actors::Supervisor::Config supervisor = options.supervisor;
  supervisor.plan = &plan_;
  add(plan_.supervisor, std::make_unique<actors::Supervisor>(supervisor));
  const std::int64_t depth = options.model.num_nextn_predict_layers;
  add(plan_.source,
      std::make_unique<actors::Source>(actors::Source::Config{&plan_, depth, options.reader}));
  add(plan_.sink, std::make_unique<actors::Sink>(actors::Sink::Config{
                      &plan_, moe_layers(options.model), depth, options.loss}));
  add(plan_.reducer,
      std::make_unique<actors::Reducer>(actors::Reducer::Config{&plan_, options.optimizer}));
  add(plan_.checkpointer,
      std::make_unique<actors::Checkpointer>(actors::Checkpointer::Config{&plan_, options.store}));
}

Status Cluster::for_each_owner(const std::function<Status(model::ParameterSet&)>& visit) {
  for (const Owned& owner : owners_) SLUICE_TRY(visit(*owner.set));
  return {};
}

const model::ParameterSet* Cluster::parameters_of(graph::ActorIndex owner) const {
  for (const Owned& o : owners_)
    if (o.actor == owner) return o.set;
  return nullptr;
}

std::vector<std::pair<std::string, Shape>> Cluster::parameters() const {
  std::vector<std::pair<std::string, Shape>> out;
  for (const Owned& owner : owners_) {
    for (const model::Parameter& p : owner.set->all()) {
      if (!p.is_replica) out.emplace_back(p.name, p.shape);
    }
  }
  return out;
}

Status Cluster::start() {
  for (const Owned& owner : owners_) {
    if (owner.set->use() != model::ParameterUse::kShapes)
      owner.set->refresh_compute(device_->context());
  }
  return host_->start();
}

void Cluster::command(actors::Body body) {
  if (!std::holds_alternative<actors::Stop>(body)) at_work_ = true;
  still_for_ = {};
  host_->send(plan_.supervisor, {{}, graph::kOutside, graph::kNoActor, std::move(body)});
}

Result<std::optional<actors::Message>> Cluster::receive_for(std::chrono::nanoseconds wait_max) {
  auto message = host_->receive_for(wait_max);
  if (!message) return tl::unexpected(explained(std::move(message).error()));
  if (!*message) {
    SLUICE_TRY(look_for_hang(wait_max));
    return message;
  }
  note((*message)->body);
  if (const auto* failure = std::get_if<actors::Failure>(&(*message)->body))
    return failed("{}", failure->message);
  return message;
}

// Two training steps have shown what a step takes: the later ones take no more from the system.
void Cluster::note(const actors::Body& body) {
  constexpr int kStepsThatTakeMemory = 2;
  still_for_ = {};
  if (std::holds_alternative<actors::Idle>(body)) at_work_ = false;
  const auto* report = std::get_if<actors::StepReport>(&body);
  if (report == nullptr || report->mode != actors::StepMode::kTrain ||
      training_steps_ == kStepsThatTakeMemory)
    return;
  if (++training_steps_ == kStepsThatTakeMemory) device_->allocator().add_spares();
}

// Still means: no message handled, no task or timer under way. Every actor is asked twice: one that
// was amid a message when first asked has handed over by then what it sends, and who gets that
// handles it before answering again. So when everyone answers both times and nothing was handled,
// nothing can move any more; while somebody does not answer, it may yet.
Status Cluster::look_for_hang(std::chrono::nanoseconds waited) {
  if (!stands_still(waited)) return {};
  static_cast<void>(host_->waiting(kAnswerMax));
  const auto waiting = host_->waiting(kAnswerMax);
  if (host_->activity() != last_activity_) return {};
  is_told_ = true;
  const actors::HangExplanation found = actors::explain_hang(plan_, waiting);
  if (found.cause.empty()) return {};
  const bool all_answer =
      std::all_of(waiting.begin(), waiting.end(), [](const auto& w) { return w.has_value(); });
  if (all_answer) return failed("nothing moves any more: {}", to_string(found));
  if (on_stall_) on_stall_(to_string(found));
  return {};
}

// A look that comes much later than it should tells of a process that was stopped, or of a machine
// that slept or had no core for it: nobody knows what the actors would have done meanwhile.
bool Cluster::stands_still(std::chrono::nanoseconds waited) {
  const Clock::time_point now = Clock::now();
  const auto since_last = std::exchange(last_look_, now);
  const host::Host::Activity activity = host_->activity();
  if (!at_work_ || activity.tasks > 0 || activity != last_activity_) {
    last_activity_ = activity;
    still_for_ = {};
    is_told_ = false;
    return false;
  }
  if (now - since_last - 2 * kLookEvery <= waited) still_for_ += now - since_last;
  return still_for_ >= kStillMax && !is_told_;
}

// A simulation that came to its end before its time.
Error Cluster::explained(Error error) {
  if (!host_->is_quiet()) return error;
  const actors::HangExplanation found = actors::explain_hang(plan_, host_->waiting({}));
  if (!found.cause.empty()) error.message += "; " + to_string(found);
  return error;
}

Result<actors::Message> Cluster::receive() {
  for (;;) {
    SLUICE_ASSIGN(auto message, receive_for(kLookEvery));
    if (message) return std::move(*message);
  }
}

Status Cluster::stop() { return host_->stop(); }

}  // namespace sluice::engine
