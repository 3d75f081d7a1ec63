// Observes a batch, generates greedily, trains.
#include "runtime/engine/probe.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "runtime/engine/load.hpp"

namespace sluice::engine {
namespace {

using actors::Message;
using actors::StepMode;

// Micro-batches from tensors in memory: the observed batch, or training step `index`.
class TensorReader final : public actors::SampleReader {
 public:
  TensorReader(Tensor batch, std::vector<Tensor> steps)
      : batch_(std::move(batch)), steps_(std::move(steps)) {}

  Status read(StepMode mode, std::int64_t index, std::int32_t micro_batch, Tensor tokens) override {
    const Tensor& from =
        mode == StepMode::kTrain ? steps_[static_cast<std::size_t>(index)] : batch_;
    const std::int64_t rows = tokens.shape()[0];
    const Tensor part = from.slice(micro_batch * rows, rows);
    std::memcpy(tokens.bytes(), part.bytes(), part.size_bytes());
    return {};
  }

 private:
  Tensor batch_;
  std::vector<Tensor> steps_;
};

// Pieces of one tensor, by micro-batch.
using Pieces = std::map<std::string, std::map<std::int32_t, Tensor>>;

Tensor joined(const std::map<std::int32_t, Tensor>& pieces) {
  const Tensor& first = pieces.begin()->second;
  std::int64_t rows = 0;
  for (const auto& [m, piece] : pieces) rows += piece.shape().rows();
  Tensor out = Tensor::zeros(first.dtype(), Shape{rows, first.shape().columns()});
  std::byte* to = out.bytes();
  for (const auto& [m, piece] : pieces) {
    std::memcpy(to, piece.bytes(), piece.size_bytes());
    to += piece.size_bytes();
  }
  return out;
}

class Prober {
 public:
  Prober(const store::CheckpointReader& checkpoint, ProbeOptions options)
      : checkpoint_(checkpoint),
        options_(std::move(options)),
        reader_(options_.tokens, options_.steps) {}

  Result<ProbeResult> run() {
    tensors_.emplace("tokens", options_.tokens);
    SLUICE_TRY(observe());
    if (options_.greedy_tokens > 0) SLUICE_TRY(generate());
    if (!options_.steps.empty()) SLUICE_TRY(train());
    for (auto& [name, tensor] : tensors_) result_.tensors.emplace_back(name, std::move(tensor));
    return std::move(result_);
  }

 private:
  Result<std::unique_ptr<Cluster>> start(ClusterOptions options) {
    options.reader = &reader_;
    SLUICE_ASSIGN(std::unique_ptr<Cluster> cluster, Cluster::create(std::move(options)));
    SLUICE_ASSIGN(result_.notes, load_weights(*cluster, checkpoint_));
    SLUICE_TRY(cluster->start());
    return cluster;
  }

  // Hands every message to `take` until the cluster is idle.
  template <class Take>
  Status until_idle(Cluster& cluster, Take take) {
    for (;;) {
      SLUICE_ASSIGN(Message message, cluster.receive());
      if (std::holds_alternative<actors::Idle>(message.body)) return {};
      take(message);
    }
  }

  Status observe() {
    ClusterOptions options = options_.cluster;
    options.observe = true;
    SLUICE_ASSIGN(std::unique_ptr<Cluster> cluster, start(std::move(options)));
    const StepMode mode = options_.backward ? StepMode::kGradient : StepMode::kEvaluate;
    cluster->command(actors::RunStep{mode, 0, options_.cluster.plan.micro_batches});
    Pieces pieces;
    SLUICE_TRY(until_idle(*cluster, [&](Message& message) {
      if (auto* seen = std::get_if<actors::Observed>(&message.body)) {
        pieces[seen->name].emplace(message.key.micro_batch, std::move(seen->tensor));
      } else if (auto* report = std::get_if<actors::StepReport>(&message.body)) {
        result_.batch = std::move(*report);
      }
    }));
    for (const auto& [name, parts] : pieces) tensors_.emplace(name, shaped(name, joined(parts)));
    if (options_.backward)
      SLUICE_TRY(snapshot(*cluster, "grad.", &actors::ParameterState::gradient));
    return cluster->stop();
  }

  // Hidden states and logits are [B, T, columns]; gates stay [B · T, columns].
  Tensor shaped(const std::string& name, const Tensor& tensor) const {
    if (name.starts_with("gate.")) return tensor;
    const std::int64_t sequences = options_.tokens.shape()[0];
    return tensor.reshaped(
        Shape{sequences, tensor.shape().rows() / sequences, tensor.shape().columns()});
  }

  Status snapshot(Cluster& cluster, const std::string& prefix,
                  Tensor actors::ParameterState::*what) {
    cluster.command(actors::SnapshotRequest{0, actors::SnapshotPurpose::kProbe});
    return until_idle(cluster, [&](Message& message) {
      auto* part = std::get_if<actors::SnapshotPart>(&message.body);
      if (part == nullptr) return;
      for (actors::ParameterState& state : part->parameters) {
        if (!(state.*what).empty()) tensors_.emplace(prefix + state.name, std::move(state.*what));
      }
    });
  }

  Status generate() {
    ClusterOptions options = options_.cluster;
    options.use = model::ParameterUse::kInference;
    options.plan.training = false;
    options.plan.micro_batches = 1;
    options.plan.micro_batch_size = 1;
    options.positions_max = options_.greedy_prompt + options_.greedy_tokens;
    SLUICE_ASSIGN(std::unique_ptr<Cluster> cluster, start(std::move(options)));
    actors::GenerateRequest request;
    const auto row = options_.tokens.values<std::int32_t>();
    request.prompt.assign(row.begin(), row.begin() + options_.greedy_prompt);
    request.tokens_max = options_.greedy_tokens;
    std::vector<std::int32_t> text = request.prompt;
    cluster->command(std::move(request));
    SLUICE_TRY(until_idle(*cluster, [&](Message& message) {
      if (const auto* token = std::get_if<actors::NextToken>(&message.body))
        text.push_back(token->token);
    }));
    tensors_.emplace(
        "greedy", Tensor::from<std::int32_t>(text, Shape{static_cast<std::int64_t>(text.size())}));
    return cluster->stop();
  }

  Status train() {
    SLUICE_ASSIGN(std::unique_ptr<Cluster> cluster, start(options_.cluster));
    cluster->command(actors::RunTraining{0, static_cast<std::int64_t>(options_.steps.size())});
    SLUICE_TRY(until_idle(*cluster, [&](Message& message) {
      if (auto* report = std::get_if<actors::StepReport>(&message.body))
        result_.steps.push_back(std::move(*report));
    }));
    SLUICE_TRY(snapshot(*cluster, "after.", &actors::ParameterState::value));
    return cluster->stop();
  }

  const store::CheckpointReader& checkpoint_;
  ProbeOptions options_;
  TensorReader reader_;
  std::map<std::string, Tensor> tensors_;
  ProbeResult result_;
};

}  // namespace

Result<ProbeResult> probe(const store::CheckpointReader& checkpoint, ProbeOptions options) {
  return Prober(checkpoint, std::move(options)).run();
}

}  // namespace sluice::engine
