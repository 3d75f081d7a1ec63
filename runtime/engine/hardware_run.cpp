// Which kernels are an actor's task, and which transfer a message is.
#include "runtime/engine/hardware_run.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace sluice::engine {
namespace {

using actors::Topic;
using cost::Unit;

std::int64_t to_ns(double seconds) { return std::llround(seconds * 1e9); }

class Times {
 public:
  Times(const cost::Job& job, const cost::Hardware& hardware) : model_(job.model) {
    for (const Unit unit :
         {Unit::kEmbedding, Unit::kDenseLayer, Unit::kMoeLayer, Unit::kMtpProjection, Unit::kHead})
      units_.push_back(cost::unit_times(unit, job, hardware).beside);
  }

  // The cost model has routed and shared experts in one task, behind the dispatch, as DeepSeek's
  // trace has them: it is given to the routed ones. Norms at the ends are in the head's list.
  [[nodiscard]] double task_s(const actors::Task& task) const {
    using T = cost::Task;
    const std::string_view name = task.name;
    const bool is_mtp = task.key.layer >= model_.num_hidden_layers;
    const Unit layer = model_.is_moe(task.key.layer) ? Unit::kMoeLayer : Unit::kDenseLayer;
    const double heads = 1 + static_cast<double>(model_.num_nextn_predict_layers);
    if (name == "attention") return of(layer, T::kAttentionForward);
    if (name == "attention gradient") return of(layer, T::kAttentionInput);
    if (name == "dense") return of(layer, T::kFeedForwardForward);
    if (name == "dense gradient") return of(layer, T::kFeedForwardInput);
    if (name == "experts") return of(layer, T::kFeedForwardForward);
    if (name == "experts input gradient") return of(layer, T::kFeedForwardInput);
    if (name == "experts weight gradient") return of(layer, T::kFeedForwardWeight);
    if (name == "weight gradient") {
      return of(layer, T::kAttentionWeight) +
             (layer == Unit::kDenseLayer ? of(layer, T::kFeedForwardWeight) : 0) +
             (is_mtp ? of(Unit::kMtpProjection, T::kAttentionWeight) : 0);
    }
    if (name == "embedding") return of(Unit::kEmbedding, T::kAttentionForward);
    if (name == "embedding gradient") return of(Unit::kEmbedding, T::kAttentionWeight);
    if (name == "mtp input") return of(Unit::kMtpProjection, T::kAttentionForward);
    if (name == "mtp input gradient") return of(Unit::kMtpProjection, T::kAttentionInput);
    const double inputs =
        heads * (of(Unit::kHead, T::kFeedForwardForward) + of(Unit::kHead, T::kFeedForwardInput));
    const double weights = heads * of(Unit::kHead, T::kFeedForwardWeight);
    if (name == "head") return inputs + weights;
    if (name == "head input gradient") return inputs;
    return name == "head weight gradient" ? weights : 0;
  }

  /// Of an all-to-all; 0: it is none.
  [[nodiscard]] double transfer_s(const actors::Message& message) const {
    switch (message.key.topic) {
      case Topic::kDispatch: return of(Unit::kMoeLayer, cost::Task::kDispatchForward);
      case Topic::kCombine: return of(Unit::kMoeLayer, cost::Task::kCombineForward);
      case Topic::kDispatchGradient: return of(Unit::kMoeLayer, cost::Task::kCombineBackward);
      case Topic::kCombineGradient: return of(Unit::kMoeLayer, cost::Task::kDispatchBackward);
      default: return 0;
    }
  }

 private:
  [[nodiscard]] double of(Unit unit, cost::Task task) const {
    return units_[static_cast<std::size_t>(unit)][static_cast<std::size_t>(task)];
  }

  model::ModelConfig model_;
  std::vector<cost::TaskSeconds> units_;
};

// Neighbours are on one node where the whole job is; otherwise each node holds one stage.
host::ClusterLinks links_of(const cost::Job& job, const cost::Hardware& hardware) {
  host::ClusterLinks out;
  out.ranks = job.pipeline_parallel_size;
  out.ranks_per_node = job.gpus() <= hardware.gpus_per_node ? job.pipeline_parallel_size : 1;
  out.nvlink_gb_s = hardware.nvlink_gb_s;
  out.ib_gb_s = hardware.ib_gb_s;
  out.nvlink_latency_ns = to_ns(hardware.nvlink_latency_us * 1e-6);
  out.ib_latency_ns = to_ns(hardware.ib_latency_us * 1e-6);
  return out;
}

}  // namespace

Result<HardwareRun> run_on_hardware(ClusterOptions options, const cost::Job& job,
                                    const cost::Hardware& hardware, const cost::Step& timed,
                                    const std::optional<RecordTo>& record) {
  options.plan.expert_parallel_size = 1;
  options.plan.layers_per_stage.assign(timed.layers_per_stage.begin(),
                                       timed.layers_per_stage.end());
  options.supervisor = {};
  const auto times = std::make_shared<const Times>(job, hardware);
  const host::ClusterLinks links = links_of(job, hardware);
  const bool within_node = job.expert_parallel_size <= hardware.gpus_per_node;
  host::SimHost::Config config;
  config.links = links;
  config.task_model = [times](const actors::Task& task, std::int32_t) {
    return to_ns(times->task_s(task));
  };
  config.message_model = [](const actors::Message&, graph::ActorIndex) -> std::int64_t {
    return 0;
  };
  // A channel is where its receiver is, or its sender: what it sends on is what travels.
  config.route_model = [times, within_node](const actors::Message& message, std::int32_t,
                                            std::int32_t to) {
    std::optional<host::ClusterLinks::Route> out;
    // In the optimizer's time; and a folded rank would share too much.
    if (message.key.topic == Topic::kGradientShare)
      return std::optional{host::ClusterLinks::Route{}};
    const double alone_ns = times->transfer_s(message) * 1e9;
    if (alone_ns == 0 || message.via == graph::kNoActor) return out;
    using host::ClusterLinks;
    out.emplace();
    if (within_node) {
      out->uses = {{ClusterLinks::nvlink_out(to), alone_ns},
                   {ClusterLinks::nvlink_in(to), alone_ns}};
    } else {
      out->uses = {{ClusterLinks::ib_out(to), alone_ns}, {ClusterLinks::ib_in(to), alone_ns}};
    }
    return out;
  };
  constexpr std::int64_t kSteps = 2;
  HardwareRun out;
  SLUICE_ASSIGN(out.run, run_virtually(std::move(options), std::move(config), kSteps, record));
  out.step_s = static_cast<double>(out.run.step_ns.back()) * 1e-9 + timed.optimizer;
  for (const host::SimHost::LaneStatistics& lane : out.run.computed) {
    const double busy_ns = static_cast<double>(lane.busy_ns) / kSteps;
    out.busy_s = std::max(out.busy_s, busy_ns * 1e-9);
  }
  return out;
}

}  // namespace sluice::engine
