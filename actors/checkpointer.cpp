// Gathers every owner's part of a snapshot, then writes it as one.
#include "actors/checkpointer.hpp"

#include "actors/reducer.hpp"
#include "kernels/base/check.hpp"

namespace sluice::actors {

using kernels::ComputeContext;

void Checkpointer::on_control(Message message) {
  const auto* request = std::get_if<SnapshotRequest>(&message.body);
  SLUICE_CHECK(request != nullptr, "checkpointer: unexpected message {}", message.body.index());
  write(*request);
}

Flow Checkpointer::write(SnapshotRequest request) {
  std::vector<ParameterState> parameters;
  const std::vector<ActorIndex> owners = owners_of(*config_.plan);
  for (const ActorIndex owner : owners) {
    const Key key{request.index, 0, 0, Topic::kSnapshot, owner};
    Message message = co_await receive(key);
    SnapshotPart& part = std::get<SnapshotPart>(message.body);
    std::move(part.parameters.begin(), part.parameters.end(), std::back_inserter(parameters));
  }
  CheckpointStore* store = config_.store;
  const TaskSpec spec{"write checkpoint", 0, 0, Lane::kStorage, {request.index}};
  const Result<std::string> path = co_await run(
      spec, [&](const ComputeContext&) { return store->write(request.index, parameters); });
  parameters.clear();
  CheckpointWritten written{request.index, path ? *path : "", path ? "" : path.error().message};
  post(config_.plan->supervisor,
       make_message({request.index, 0, 0, Topic::kWritten, 0}, std::move(written)));
}

}  // namespace sluice::actors
