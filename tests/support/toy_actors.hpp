// Three actors that pass rows on through two channels: producer -> worker -> collector. For tests
// of flows, channels and hosts.
#pragma once

#include <memory>
#include <numeric>
#include <vector>

#include "actors/channel.hpp"
#include "actors/flow.hpp"
#include "runtime/host/host.hpp"

namespace sluice::toy {

using actors::ActorIndex;
using actors::Flow;
using actors::FlowActor;
using actors::Key;
using actors::Message;
using actors::Topic;

inline constexpr ActorIndex kProducer = 0;
inline constexpr ActorIndex kWorker = 1;
inline constexpr ActorIndex kCollector = 2;
inline constexpr ActorIndex kFirstChannel = 3;
inline constexpr ActorIndex kSecondChannel = 4;

inline Key key_of(std::int32_t micro_batch) {
  return {
      .step = 0, .micro_batch = micro_batch, .layer = 0, .topic = Topic::kActivation, .part = 0};
}

struct Sizes {
  std::int32_t credits = 2;
  std::int64_t rows = 64;
};

/// On StepStart: makes rows in a task, sends them when there is a credit.
class Producer final : public FlowActor {
 public:
  explicit Producer(Sizes sizes) : FlowActor(kProducer), rows_(sizes.rows) {
    open_channel(kFirstChannel, sizes.credits);
  }

 private:
  void on_control(Message message) override {
    produce(std::get<actors::StepStart>(message.body).micro_batches);
  }
  Flow produce(std::int32_t micro_batches) {
    for (std::int32_t m = 0; m < micro_batches; ++m) {
      const Tensor made = co_await run({.name = "produce"}, [&](const kernels::ComputeContext& c) {
        Tensor t = c.make(DType::kF32, {rows_});
        std::iota(t.values<float>().begin(), t.values<float>().end(), static_cast<float>(m));
        return t;
      });
      Message out{.key = key_of(m), .body = actors::Hidden{made}};
      co_await send(kFirstChannel, out);
    }
  }
  std::int64_t rows_;
};

/// Doubles what arrives, in order.
class Worker final : public FlowActor {
 public:
  explicit Worker(Sizes sizes) : FlowActor(kWorker) { open_channel(kSecondChannel, sizes.credits); }

 private:
  void on_control(Message message) override {
    work(std::get<actors::StepStart>(message.body).micro_batches);
  }
  Flow work(std::int32_t micro_batches) {
    for (std::int32_t m = 0; m < micro_batches; ++m) {
      Message in = co_await receive(key_of(m));
      const Tensor rows = std::get<actors::Hidden>(in.body).rows;
      const Tensor doubled = co_await run({.name = "work"}, [&](const kernels::ComputeContext& c) {
        Tensor t = c.make(DType::kF32, rows.shape());
        for (std::size_t i = 0; i < t.values<float>().size(); ++i) {
          t.values<float>()[i] = 2 * rows.values<float>()[i];
        }
        return t;
      });
      Message out{.key = key_of(m), .body = actors::Hidden{doubled}};
      co_await send(kSecondChannel, out);
    }
  }
};

/// Sums what arrives and tells the outside.
class Collector final : public FlowActor {
 public:
  Collector() : FlowActor(kCollector) {}

 private:
  void on_control(Message message) override {
    collect(std::get<actors::StepStart>(message.body).micro_batches);
  }
  Flow collect(std::int32_t micro_batches) {
    double sum = 0;
    for (std::int32_t m = 0; m < micro_batches; ++m) {
      Message in = co_await receive(key_of(m));
      const Tensor rows = std::get<actors::Hidden>(in.body).rows;
      const double part = co_await run({.name = "collect"}, [&](const kernels::ComputeContext&) {
        return std::accumulate(rows.values<float>().begin(), rows.values<float>().end(), 0.0);
      });
      sum += part;
    }
    post(actors::kOutside, Message{.body = actors::LossPart{sum, {}}});
  }
};

inline void add_toy(host::Host& host, Sizes sizes) {
  using graph::ActorKind;
  host.add(kProducer, {ActorKind::kSource, "producer", 0}, std::make_unique<Producer>(sizes));
  host.add(kWorker, {ActorKind::kStage, "worker", 1}, std::make_unique<Worker>(sizes));
  host.add(kCollector, {ActorKind::kSink, "collector", 2}, std::make_unique<Collector>());
  host.add(kFirstChannel, {ActorKind::kChannel, "first channel", 0},
           std::make_unique<actors::Channel>(
               actors::Channel::Config{kFirstChannel, kProducer, kWorker, sizes.credits}));
  host.add(kSecondChannel, {ActorKind::kChannel, "second channel", 0},
           std::make_unique<actors::Channel>(
               actors::Channel::Config{kSecondChannel, kWorker, kCollector, sizes.credits}));
}

inline void start_toy(host::Host& host, std::int32_t micro_batches) {
  for (const ActorIndex actor : {kProducer, kWorker, kCollector}) {
    host.send(actor, Message{.body = actors::StepStart{.micro_batches = micro_batches}});
  }
}

/// What the collector must report.
inline double toy_sum(Sizes sizes, std::int32_t micro_batches) {
  double sum = 0;
  for (std::int32_t m = 0; m < micro_batches; ++m) {
    for (std::int64_t i = 0; i < sizes.rows; ++i) sum += 2.0 * static_cast<double>(m + i);
  }
  return sum;
}

}  // namespace sluice::toy
