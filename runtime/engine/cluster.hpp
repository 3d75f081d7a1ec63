// A plan made real: its actors on a host, with devices to run their tasks.
//
//   SLUICE_ASSIGN(auto cluster, Cluster::create(options));
//   SLUICE_TRY(cluster->for_each_owner([](model::ParameterSet& set) { ... load or initialise ...
//   })); SLUICE_TRY(cluster->start()); cluster->command(actors::RunTraining{0, 100});
//   SLUICE_ASSIGN(actors::Message message, cluster->receive());
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "actors/checkpointer.hpp"
#include "actors/settings.hpp"
#include "actors/source.hpp"
#include "actors/supervisor.hpp"
#include "graph/model/parameters.hpp"
#include "graph/plan.hpp"
#include "runtime/device/cpu_device.hpp"
#include "runtime/host/host.hpp"
#include "runtime/host/observer.hpp"

namespace sluice::engine {

struct ClusterOptions {
  model::ModelConfig model;
  model::Recipe recipe = model::Recipe::kFp32;
  model::ParameterUse use = model::ParameterUse::kTraining;
  graph::PlanOptions plan;
  /// Made and checked before, and run as it is; absent: made from `plan`, and checked.
  std::optional<graph::Plan> plan_made;
  actors::LossSettings loss;
  actors::OptimizerSettings optimizer;
  actors::Supervisor::Config supervisor;     ///< plan is filled in
  actors::SampleReader* reader = nullptr;    ///< outlives the cluster
  actors::CheckpointStore* store = nullptr;  ///< outlives the cluster
  device::CpuDevice::Config device;
  bool observe = false;            ///< hidden states, logits and gates come out as Observed
  std::int64_t positions_max = 0;  ///< rotary tables and latent caches; 0: the sequence length
  /// Nothing has moved for a while and an actor does not answer: perhaps it is only slow. Called by
  /// receive().
  std::function<void(const std::string&)> on_stall;
  host::Observer* observer = nullptr;  ///< of the live host; outlives the cluster
  /// Which actors are made here; absent: all.
  std::function<bool(graph::ActorIndex)> includes;
  /// Makes the host that runs the actors. Absent: CafHost on one CPU device.
  std::function<std::unique_ptr<host::Host>(device::CpuDevice&)> host;
};

class Cluster {
 public:
  /// Errors: a plan that cannot be (sizes that do not divide, more stages than layers, ...), or
  /// that needs more memory than there is.
  [[nodiscard]] static Result<std::unique_ptr<Cluster>> create(ClusterOptions options);
  ~Cluster();

  [[nodiscard]] const graph::Plan& plan() const { return plan_; }
  [[nodiscard]] device::CpuDevice& device() { return *device_; }

  /// Before start: parameters of every stage and expert group, one set after the other.
  [[nodiscard]] Status for_each_owner(const std::function<Status(model::ParameterSet&)>& visit);
  /// Of one stage or expert group; null for other actors. They live as long as the host runs.
  [[nodiscard]] const model::ParameterSet* parameters_of(graph::ActorIndex owner) const;
  /// Names and shapes of all parameters, as for_each_owner meets them.
  [[nodiscard]] std::vector<std::pair<std::string, Shape>> parameters() const;

  /// BF16 copies from the master weights, then runs the actors.
  [[nodiscard]] Status start();
  /// To the supervisor: RunTraining, RunStep, GenerateRequest, Stop.
  void command(actors::Body body);
  /// The next message to the outside; Failure comes as an Error. So does a hang, which is noticed
  /// within a second and explained: who waits for whom, first the cause. With a limit: nothing
  /// after that long.
  [[nodiscard]] Result<actors::Message> receive();
  [[nodiscard]] Result<std::optional<actors::Message>> receive_for(
      std::chrono::nanoseconds wait_max);
  Status stop();

 private:
  Cluster() = default;
  void add_actors(const ClusterOptions& options);
  void note(const actors::Body& body);
  Status look_for_hang(std::chrono::nanoseconds waited);
  bool stands_still(std::chrono::nanoseconds waited);
  Error explained(Error error);

  graph::Plan plan_;
  std::unique_ptr<device::CpuDevice> device_;
  std::unique_ptr<host::Host> host_;
  struct Owned {
    graph::ActorIndex actor;
    model::ParameterSet* set;  // in an actor that host_ holds
  };
  std::vector<Owned> owners_;
  int training_steps_ = 0;  // reported, up to the second
  // Of hangs.
  std::function<void(const std::string&)> on_stall_;
  bool at_work_ = false;  // a command was given and Idle has not come
  host::Host::Activity last_activity_;
  std::chrono::steady_clock::time_point last_look_;
  std::chrono::steady_clock::duration still_for_{};
  bool is_told_ = false;  // of this stand
};

/// The plan's options and the model's summary, as `sluice plan` prints them.
[[nodiscard]] Result<graph::Plan> plan_of(const ClusterOptions& options);

}  // namespace sluice::engine
