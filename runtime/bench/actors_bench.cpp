// Runs CAF's ping-pong and our messages in turns.
#include "runtime/bench/actors_bench.hpp"

#include <algorithm>
#include <chrono>
#include <memory>

#include "actors/channel.hpp"
#include "actors/flow.hpp"
#include "kernels/base/median.hpp"
#include "runtime/host/caf_host.hpp"
#include "runtime/host/caf_ping_pong.hpp"

namespace sluice::bench {
namespace {

using actors::ActorIndex;
using actors::Flow;
using actors::Key;
using actors::Message;
using graph::ActorKind;

constexpr ActorIndex kSender = 0;
constexpr ActorIndex kReceiver = 1;
constexpr ActorIndex kChannel = 2;
constexpr std::int32_t kWarmUpMessages = 1'000;

Key key_of(std::int32_t index) {
  return {
      .step = 0, .micro_batch = index, .layer = 0, .topic = actors::Topic::kActivation, .part = 0};
}

class Sender final : public actors::FlowActor {
 public:
  explicit Sender(std::int32_t credits) : FlowActor(kSender) { open_channel(kChannel, credits); }

 private:
  void on_control(Message message) override {
    write(std::get<actors::StepStart>(message.body).micro_batches);
  }
  Flow write(std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      Message out = make_message(key_of(i), actors::Hidden{});
      co_await send(kChannel, out);
    }
  }
};

// Tells the outside when the count has arrived.
class Receiver final : public actors::FlowActor {
 public:
  Receiver() : FlowActor(kReceiver) {}

 private:
  void on_control(Message message) override {
    read(std::get<actors::StepStart>(message.body).micro_batches);
  }
  Flow read(std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      const Message in = co_await receive(key_of(i));
      static_cast<void>(in);
    }
    post(actors::kOutside, make_message({}, actors::OwnerDone{}));
  }
};

// One batch of messages, from the start until the last has arrived.
Result<double> send_all(host::Host& host, std::int64_t count) {
  const actors::StepStart start{.micro_batches = static_cast<std::int32_t>(count)};
  const auto begin = std::chrono::steady_clock::now();
  host.send(kReceiver, Message{.body = start});
  host.send(kSender, Message{.body = start});
  SLUICE_TRY(host.receive());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return took.count();
}

Result<double> channel_seconds(const ActorsBenchOptions& options, std::int32_t credits) {
  host::CafHost host({.threads = options.threads, .device = {}});
  host.add(kSender, {ActorKind::kStage, "sender", 0}, std::make_unique<Sender>(credits));
  host.add(kReceiver, {ActorKind::kStage, "receiver", 0}, std::make_unique<Receiver>());
  host.add(kChannel, {ActorKind::kChannel, "channel", 0},
           std::make_unique<actors::Channel>(
               actors::Channel::Config{kChannel, kSender, kReceiver, credits}));
  SLUICE_TRY(host.start());
  SLUICE_TRY(send_all(host, kWarmUpMessages));
  SLUICE_ASSIGN(const double seconds, send_all(host, options.messages));
  SLUICE_TRY(host.stop());
  return seconds;
}

}  // namespace

Result<ActorsBenchReport> run_actors_bench(const ActorsBenchOptions& options) {
  const double to_ns = 1e9 / static_cast<double>(options.messages);
  std::vector<double> raw;
  std::vector<std::vector<double>> ours(options.credits.size());
  std::vector<std::vector<double>> ratios(options.credits.size());
  for (std::int32_t round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < options.credits.size(); ++i) {
      SLUICE_ASSIGN(const double ping_pong,
                    host::caf_ping_pong_seconds(options.messages, options.threads));
      SLUICE_ASSIGN(const double channel, channel_seconds(options, options.credits[i]));
      raw.push_back(ping_pong * to_ns);
      ours[i].push_back(channel * to_ns);
      ratios[i].push_back(channel / ping_pong);
    }
  }
  ActorsBenchReport report{options, median(raw), {}, {}};
  for (std::size_t i = 0; i < options.credits.size(); ++i) {
    report.rows.push_back({options.credits[i], median(ours[i]), median(ratios[i])});
  }
  return report;
}

double ActorsBenchReport::waiting_share() const {
  if (!step) return 0;
  double seconds = 0;
  for (const double s : step->steps_s) seconds += s;
  return step->waiting_s * static_cast<double>(step->steps_s.size()) / seconds;
}

std::string to_table(const ActorsBenchReport& report) {
  std::string text = fmt::format(
      "raw CAF ping-pong, there and back: {:.0f} ns ({} scheduler thread{}, {} messages a run, "
      "medians of {} rounds)\n"
      "one message, flow -> channel -> flow, with its credit's way back:\n",
      report.ping_pong_ns, report.options.threads, report.options.threads == 1 ? "" : "s",
      report.options.messages, report.options.rounds);
  for (const ActorsBenchRow& row : report.rows) {
    text += fmt::format("  {:3} credits  {:6.0f} ns  {:5.2f} x a ping-pong\n", row.credits,
                        row.message_ns, row.ratio);
  }
  if (report.step) {
    text += fmt::format(
        "a training step: {:.1f} ms; the lane waits for actors {:.2f} ms, {:.2f} %\n",
        report.step->step_s * 1e3, report.step->waiting_s * 1e3, 100 * report.waiting_share());
  }
  return text;
}

nlohmann::ordered_json to_json(const ActorsBenchReport& report) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const ActorsBenchRow& row : report.rows) {
    rows.push_back({{"credits", row.credits},
                    {"message_ns", row.message_ns},
                    {"ratio_to_ping_pong", row.ratio}});
  }
  nlohmann::ordered_json out = {{"scheduler_threads", report.options.threads},
                                {"messages", report.options.messages},
                                {"rounds", report.options.rounds},
                                {"caf_ping_pong_ns", report.ping_pong_ns},
                                {"channel", rows}};
  if (!report.step) return out;
  out["step"] = {{"step_s", report.step->step_s},
                 {"waiting_s", report.step->waiting_s},
                 {"waiting_share", report.waiting_share()},
                 {"threads", report.step->threads},
                 {"cpu", report.step->cpu}};
  return out;
}

}  // namespace sluice::bench
