// Sums parts in micro-batch order, so that a report is the same whatever arrived first.
#include "actors/sink.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/base/check.hpp"
#include "kernels/base/random.hpp"
#include "kernels/sample/sample.hpp"

namespace sluice::actors {

using kernels::ComputeContext;

Sink::Sink(Config config) : FlowActor(config.plan->sink), config_(std::move(config)) {}

void Sink::on_control(Message message) {
  if (const auto* start = std::get_if<StepStart>(&message.body)) {
    collect(*start);
  } else if (auto* request = std::get_if<GenerateRequest>(&message.body)) {
    sample(std::move(*request), message.key.step);
  } else {
    SLUICE_CHECK(false, "sink: unexpected message {}", message.body.index());
  }
}

Flow Sink::collect(StepStart start) {
  StepReport report = co_await collect_losses(start);
  for (const std::int32_t layer : config_.moe_layers) {
    double balance = 0;
    StepReport::Layer part = co_await collect_layer(start, layer, &balance);
    report.balance += balance;
    report.layers.push_back(std::move(part));
  }
  const double depths = static_cast<double>(std::max<std::int64_t>(1, config_.mtp_depth));
  const double mtp = std::accumulate(report.mtp.begin(), report.mtp.end(), 0.0);
  report.total = report.main + config_.loss.balance_alpha * report.balance +
                 config_.loss.mtp_lambda / depths * mtp;
  if (start.mode == StepMode::kTrain) {
    const Key key{start.step, 0, 0, Topic::kUpdate, 0};
    const Message message = co_await receive(key);
    const ApplyUpdate update = std::get<ApplyUpdate>(message.body);
    report.gradient_norm = update.norm;
    report.learning_rate = update.learning_rate;
  }
  post(config_.plan->supervisor,
       make_message({start.step, 0, 0, Topic::kReport, 0}, std::move(report)));
}

Async<StepReport> Sink::collect_losses(StepStart start) {
  StepReport report;
  report.step = start.step;
  report.index = start.index;
  report.mode = start.mode;
  report.mtp.assign(static_cast<std::size_t>(config_.mtp_depth), 0.0);
  const graph::PlanOptions& options = config_.plan->options;
  report.tokens =
      std::int64_t{start.micro_batches} * options.micro_batch_size * options.sequence_length;
  for (std::int32_t m = 0; m < start.micro_batches; ++m) {
    const Key key{start.step, m, 0, Topic::kLoss, 0};
    const Message message = co_await receive(key);
    const LossPart& part = std::get<LossPart>(message.body);
    report.main += part.main;
    for (std::size_t k = 0; k < part.mtp.size(); ++k) report.mtp[k] += part.mtp[k];
  }
  report.main /= static_cast<double>(report.tokens);
  for (double& loss : report.mtp) loss /= static_cast<double>(report.tokens);
  co_return report;
}

Async<StepReport::Layer> Sink::collect_layer(StepStart start, std::int32_t layer, double* balance) {
  StepReport::Layer out;
  out.layer = layer;
  for (std::int32_t m = 0; m < start.micro_batches; ++m) {
    const Key key{start.step, m, layer, Topic::kBalance, 0};
    const Message message = co_await receive(key);
    const BalancePart& part = std::get<BalancePart>(message.body);
    *balance += part.balance;
    out.loads.resize(part.loads.size(), 0);
    for (std::size_t i = 0; i < part.loads.size(); ++i) out.loads[i] += part.loads[i];
  }
  *balance /= static_cast<double>(std::int64_t{start.micro_batches} *
                                  config_.plan->options.micro_batch_size);
  out.max_violation = model::DecoderLayer::max_violation(out.loads);
  co_return out;
}

Flow Sink::sample(GenerateRequest request, std::int64_t step) {
  const kernels::SampleDesc desc{request.temperature, request.top_p};
  for (std::int32_t i = 0;; ++i) {
    const Key key{step, i, 0, Topic::kLogits, 0};
    const Message message = co_await receive(key);
    const Logits in = std::get<Logits>(message.body);
    const float uniform =
        Random(request.seed, RandomPurpose::kSampling, static_cast<std::uint64_t>(in.position))
            .uniform(0);
    const TaskSpec spec{.name = "sample", .key = key};
    const std::int32_t token = co_await run(spec, [&](const ComputeContext&) {
      return kernels::sample(in.row.values<float>(), desc, uniform);
    });
    const bool last = i + 1 >= request.tokens_max || token == request.end_token;
    const NextToken next{token, in.position + 1, last};
    post(config_.plan->supervisor, make_message({step, i, 0, Topic::kNextToken, 0}, next));
    post(config_.plan->source, make_message({step, i, 0, Topic::kNextToken, 0}, next));
    if (last) co_return;
  }
}

}  // namespace sluice::actors
