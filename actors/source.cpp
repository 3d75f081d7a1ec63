// Reads samples ahead as far as the channels have credits.
#include "actors/source.hpp"

#include <numeric>

#include "kernels/base/check.hpp"

namespace sluice::actors {

using kernels::ComputeContext;

Source::Source(const Config& config) : FlowActor(config.plan->source), config_(config) {
  for (const graph::ChannelPlan& c : config.plan->channels) {
    if (c.from == self()) open_channel(c.actor, c.credits);
  }
}

void Source::on_control(Message message) {
  if (const auto* start = std::get_if<StepStart>(&message.body)) {
    const graph::Placement dealt = config_.plan->placement.with_micro_batches(start->micro_batches);
    for (std::size_t r = 0; r < dealt.routes().size(); ++r) {
      const auto route = static_cast<std::int32_t>(r);
      std::vector<std::int32_t> order(static_cast<std::size_t>(dealt.routes()[r].micro_batches));
      std::iota(order.begin(), order.end(), 0);
      if (start->mode != StepMode::kEvaluate) order = config_.plan->feed_order(route);
      feed(*start, route, dealt.micro_batch_first(route), std::move(order));
    }
  } else if (auto* request = std::get_if<GenerateRequest>(&message.body)) {
    generate(std::move(*request), message.key.step);
  } else {
    SLUICE_CHECK(false, "source: unexpected message {}", message.body.index());
  }
}

// The micro-batches of one route, as its first stage takes them: what comes later never holds the
// credits of what comes first.
Flow Source::feed(StepStart start, std::int32_t route, std::int32_t first,
                  std::vector<std::int32_t> order) {
  const ActorIndex inputs = config_.plan->source_channel(route, graph::ChannelRole::kTokens)->actor;
  const ActorIndex targets =
      config_.plan->source_channel(route, graph::ChannelRole::kTargets)->actor;
  const graph::PlanOptions& options = config_.plan->options;
  const Shape shape{options.micro_batch_size, options.sequence_length + 1 + config_.mtp_depth};
  SampleReader* reader = config_.reader;
  for (const std::int32_t of_route : order) {
    const std::int32_t m = first + of_route;
    const TaskSpec spec{"read samples", 0, 0, Lane::kStorage, {start.step, m}};
    Result<Tensor> tokens = co_await run(
        spec,
        [&](const ComputeContext& c) -> Result<Tensor> {
          Tensor out = c.make(DType::kI32, shape);
          SLUICE_TRY(reader->read(start.mode, start.index, m, out));
          return out;
        },
        [&]() -> Result<Tensor> { return Tensor::meta(DType::kI32, shape); });
    if (!tokens) {
      post(kOutside, make_message({}, Failure{tokens.error().message}));
      co_return;
    }
    Message input = make_message({start.step, m, 0, Topic::kTokens, 0}, Tokens{*tokens, 0});
    co_await send(inputs, input);
    Message target = make_message({start.step, m, 0, Topic::kTargets, 0}, Tokens{*tokens, 0});
    co_await send(targets, target);
  }
}

// The prompt as one micro-batch, then each new token as one, until the sink says that it was the
// last.
Flow Source::generate(GenerateRequest request, std::int64_t step) {
  const ActorIndex inputs = config_.plan->source_channel(0, graph::ChannelRole::kTokens)->actor;
  std::vector<std::int32_t> next = request.prompt;
  std::int32_t position = 0;
  for (std::int32_t i = 0;; ++i) {
    const auto count = static_cast<std::int64_t>(next.size());
    Tensor tokens = Tensor::from<std::int32_t>(next, Shape{1, count});
    Message input =
        make_message({step, i, 0, Topic::kTokens, 0}, Tokens{std::move(tokens), position});
    co_await send(inputs, input);
    const Key key{step, i, 0, Topic::kNextToken, 0};
    const Message answer = co_await receive(key);
    const NextToken token = std::get<NextToken>(answer.body);
    position += static_cast<std::int32_t>(count);
    next.assign(1, token.token);
    if (!token.last) continue;
    Message end = make_message({step, i + 1, 0, Topic::kTokens, 0}, Tokens{});
    co_await send(inputs, end);
    co_return;
  }
}

}  // namespace sluice::actors
