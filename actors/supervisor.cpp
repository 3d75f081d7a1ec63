// Steps, evaluations and checkpoints, in order.
#include "actors/supervisor.hpp"

#include "actors/reducer.hpp"
#include "kernels/base/check.hpp"
#include "kernels/base/sometimes.hpp"

namespace sluice::actors {

void Supervisor::on_control(Message message) {
  if (std::holds_alternative<Stop>(message.body)) {
    stopping_ = true;
  } else if (const auto* run = std::get_if<RunTraining>(&message.body)) {
    train(*run);
  } else if (const auto* one = std::get_if<RunStep>(&message.body)) {
    single(*one);
  } else if (auto* request = std::get_if<GenerateRequest>(&message.body)) {
    generate(std::move(*request));
  } else if (const auto* look = std::get_if<SnapshotRequest>(&message.body)) {
    snapshot(*look);
  } else if (std::holds_alternative<Observed>(message.body)) {
    post(kOutside, std::move(message));  // through here, so that it comes before the step's end
  } else {
    SLUICE_CHECK(false, "supervisor: unexpected message {}", message.body.index());
  }
}

Flow Supervisor::train(RunTraining command) {
  std::int64_t index = command.first;
  std::int64_t saved = -1;
  for (; index < command.last && !stopping_; ++index) {
    co_await step(StepMode::kTrain, index, config_.plan->options.micro_batches);
    const std::int64_t done = index + 1;
    const bool due = config_.evaluate_every > 0 && done % config_.evaluate_every == 0;
    if (config_.evaluate_micro_batches > 0 && (due || done == command.last)) {
      co_await step(StepMode::kEvaluate, done, config_.evaluate_micro_batches);
    }
    if (config_.checkpoint_every > 0 && done % config_.checkpoint_every == 0) {
      co_await checkpoint(done);
      saved = done;
    }
  }
  if (config_.checkpoint_at_end && saved != index && index > command.first)
    co_await checkpoint(index);
  co_await finish_checkpoint();
  post(kOutside, make_message({}, Idle{index}));
}

Flow Supervisor::single(RunStep command) {
  co_await step(command.mode, command.index, command.micro_batches);
  post(kOutside, make_message({}, Idle{command.index + 1}));
}

// Every owner's state to the outside (kProbe). Gradients are cleared by it.
Flow Supervisor::snapshot(SnapshotRequest request) {
  for (const ActorIndex owner : owners_of(*config_.plan)) post(owner, make_message({}, request));
  for (const ActorIndex owner : owners_of(*config_.plan)) {
    const Key key{request.index, 0, 0, Topic::kSnapshot, owner};
    Message part = co_await receive(key);
    post(kOutside, make_message({}, std::move(part.body)));
  }
  post(kOutside, make_message({}, Idle{request.index}));
}

// Everyone starts the step; it is over when every owner has done its work and the sink has
// reported.
Async<Done> Supervisor::step(StepMode mode, std::int64_t index, std::int32_t micro_batches) {
  const StepStart start{next_step_++, index, mode, micro_batches};
  for (const ActorIndex owner : owners_of(*config_.plan)) post(owner, make_message({}, start));
  post(config_.plan->reducer, make_message({}, start));
  post(config_.plan->sink, make_message({}, start));
  post(config_.plan->source, make_message({}, start));
  co_await collect_owners(start.step, Topic::kOwnerDone);
  const Key key{start.step, 0, 0, Topic::kReport, 0};
  Message report = co_await receive(key);
  post(kOutside, make_message({}, std::move(report.body)));
  co_return Done{};
}

Async<Done> Supervisor::collect_owners(std::int64_t step, Topic topic) {
  for (const ActorIndex owner : owners_of(*config_.plan)) {
    const Key key{step, 0, 0, topic, owner};
    co_await receive(key);
  }
  co_return Done{};
}

// Returns once every owner has copied its state; writing goes on beside the next steps. One at a
// time.
Async<Done> Supervisor::checkpoint(std::int64_t index) {
  SLUICE_SOMETIMES(checkpoint_under_way_ >= 0, "a checkpoint waits for the one before");
  co_await finish_checkpoint();
  post(kOutside, make_message({}, CheckpointBegun{index}));
  const SnapshotRequest request{index, SnapshotPurpose::kCheckpoint};
  post(config_.plan->checkpointer, make_message({}, request));
  for (const ActorIndex owner : owners_of(*config_.plan)) post(owner, make_message({}, request));
  co_await collect_owners(index, Topic::kSnapshot);
  checkpoint_under_way_ = index;
  co_return Done{};
}

Async<Done> Supervisor::finish_checkpoint() {
  if (checkpoint_under_way_ < 0) co_return Done{};
  const Key key{checkpoint_under_way_, 0, 0, Topic::kWritten, 0};
  checkpoint_under_way_ = -1;
  Message message = co_await receive(key);
  post(kOutside, make_message({}, std::move(message.body)));
  co_return Done{};
}

Flow Supervisor::generate(GenerateRequest request) {
  const StepStart start{next_step_++, 0, StepMode::kGenerate, 0};
  for (const ActorIndex owner : owners_of(*config_.plan)) post(owner, make_message({}, start));
  const Key control{start.step, 0, 0, Topic::kControl, 0};
  post(config_.plan->sink, make_message(control, request));
  post(config_.plan->source, make_message(control, request));
  bool last = false;
  for (std::int32_t i = 0; !last; ++i) {
    const Key key{start.step, i, 0, Topic::kNextToken, 0};
    Message token = co_await receive(key);
    last = std::get<NextToken>(token.body).last;
    post(kOutside, make_message({}, std::move(token.body)));
  }
  co_await collect_owners(start.step, Topic::kOwnerDone);
  post(kOutside, make_message({}, Idle{0}));
}

}  // namespace sluice::actors
