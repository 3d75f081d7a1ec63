// One cluster on a SimHost, from command to report.
#include "runtime/engine/virtual_run.hpp"

#include "kernels/base/check.hpp"
#include "runtime/engine/clock.hpp"
#include "runtime/trace/recorder.hpp"

namespace sluice::engine {
namespace {

Result<std::vector<std::int64_t>> time_steps(Cluster& cluster, const host::SimHost& sim,
                                             std::int64_t steps) {
  std::vector<std::int64_t> out;
  std::int64_t before_ns = 0;
  cluster.command(actors::RunTraining{0, steps});
  for (;;) {
    SLUICE_ASSIGN(const actors::Message message, cluster.receive());
    if (std::holds_alternative<actors::Idle>(message.body)) return out;
    if (!std::holds_alternative<actors::StepReport>(message.body)) continue;
    out.push_back(sim.now_ns() - before_ns);
    before_ns = sim.now_ns();
  }
}

}  // namespace

Result<VirtualRun> run_virtually(ClusterOptions options, host::SimHost::Config model,
                                 std::int64_t steps, const std::optional<RecordTo>& record) {
  SLUICE_CHECK(options.use == model::ParameterUse::kShapes);
  const Clock::time_point begin = Clock::now();
  model.run_bodies = false;
  options.device = {};           // nothing runs on it
  host::SimHost* sim = nullptr;  // in the cluster
  trace::Recorder recorder;
  if (record) model.observer = &recorder;
  const bool ranks_share_lanes = model.ranks_share_lanes;
  options.host = [&](device::CpuDevice&) {
    auto host = std::make_unique<host::SimHost>(std::move(model));
    sim = host.get();
    return host;
  };
  SLUICE_ASSIGN(auto cluster, Cluster::create(std::move(options)));
  if (record) {
    trace::Recording about = record->about;
    about.virtual_time = true;
    about.has_values = false;
    about.ranks_share_lanes = ranks_share_lanes;
    trace::set_plan(about, cluster->plan());
    SLUICE_TRY(recorder.begin(record->folder, about));
  }
  SLUICE_TRY(cluster->start());
  VirtualRun out;
  out.setup_s = seconds_since(begin);
  SLUICE_ASSIGN(out.step_ns, time_steps(*cluster, *sim, steps));
  out.run_s = seconds_since(begin) - out.setup_s;
  out.events = sim->events();
  for (std::int32_t rank = 0; rank < cluster->plan().ranks(); ++rank) {
    out.computed.push_back(sim->lane(rank));
    out.tasks += out.computed.back().tasks;
  }
  SLUICE_TRY(cluster->stop());
  SLUICE_TRY(recorder.end());
  return out;
}

}  // namespace sluice::engine
