// Who has to run, weights as they were at the start, then one pass over the log.
#include "runtime/engine/replay.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/engine/folder_store.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/store/file.hpp"
#include "runtime/store/safetensors.hpp"

namespace sluice::engine {
namespace {

using graph::ActorIndex;
using host::ReplayHost;
using trace::Recording;

// They read and write files, which a log replaces: what they said is always in it, whole.
bool touches_files(graph::ActorKind kind) {
  return kind == graph::ActorKind::kSource || kind == graph::ActorKind::kCheckpointer;
}

// The receivers of tensors whose elements the log lacks, by sender. Channels stand for their
// receiver.
using Missing = std::map<ActorIndex, std::set<ActorIndex>>;

Result<Missing> find_missing(trace::LogReader& log, const Recording& recording) {
  std::map<ActorIndex, ActorIndex> receiver;
  for (const graph::ChannelPlan& c : recording.channels) receiver[c.actor] = c.to;
  SLUICE_ASSIGN(trace::Elements elements, trace::Elements::open(log.path()));
  log.skip_payloads();
  Missing out;
  for (;;) {
    SLUICE_ASSIGN(const auto record, log.next());
    if (!record) return out;
    SLUICE_ASSIGN(const trace::Event event, trace::parse(*record));
    if (const auto* payload = std::get_if<trace::PayloadEvent>(&event)) elements.met(*payload);
    const auto* send = std::get_if<trace::SendEvent>(&event);
    if (send == nullptr) continue;
    const auto channel = receiver.find(send->to);
    const ActorIndex to = channel == receiver.end() ? send->to : channel->second;
    SLUICE_ASSIGN(const auto arrays, trace::arrays_of(trace::ByteReader(send->message)));
    const bool whole = std::all_of(arrays.begin(), arrays.end(),
                                   [&](const auto& info) { return elements.holds(info); });
    if (!whole) out[send->from].insert(to);
  }
}

// `actor`, then whoever sends one of them what the log does not hold, and their channels.
std::set<ActorIndex> close_over(std::set<ActorIndex> running, const Missing& missing,
                                const Recording& recording) {
  for (bool grows = true; grows;) {
    grows = false;
    for (const auto& [from, receivers] : missing) {
      if (from < 0 || running.contains(from)) continue;
      const bool needed = std::any_of(receivers.begin(), receivers.end(),
                                      [&](ActorIndex to) { return running.contains(to); });
      if (needed) grows = running.insert(from).second;
    }
  }
  std::set<ActorIndex> out = running;
  for (const graph::ChannelPlan& c : recording.channels)
    if (running.contains(c.from) || running.contains(c.to)) out.insert(c.actor);
  return out;
}

Result<std::set<ActorIndex>> who_runs(const ReplayOptions& options, const Recording& recording) {
  std::set<ActorIndex> running;
  if (options.actor.empty()) {
    for (std::size_t i = 0; i < recording.actors.size(); ++i)
      if (!touches_files(recording.actors[i].kind)) running.insert(static_cast<ActorIndex>(i));
    return running;
  }
  SLUICE_ASSIGN(const ActorIndex actor, recording.find(options.actor));
  if (touches_files(recording.actors[static_cast<std::size_t>(actor)].kind)) {
    return invalid_input("{} works on files, so it does not run again; what it said is in the log",
                         options.actor);
  }
  running.insert(actor);
  SLUICE_ASSIGN(trace::LogReader log, trace::LogReader::open(options.directory));
  SLUICE_TRY(trace::read_recording(log));
  SLUICE_ASSIGN(const Missing missing, find_missing(log, recording));
  return close_over(std::move(running), missing, recording);
}

// Messages of the step that is under way, and their tensors.
class StepMessages {
 public:
  using Named = std::vector<std::pair<std::string, Tensor>>;

  void add(const actors::Key& key, const std::string& words, const actors::Message& message) {
    if (key.step > step_) {
      step_ = key.step;
      messages_.clear();
      tensors_.clear();
    }
    messages_.push_back(words);
    for (auto& [field, tensor] : trace::tensors_of(message))
      if (tensor.has_storage()) tensors_.emplace_back(fmt::format("{}: {}", words, field), tensor);
  }
  [[nodiscard]] const std::vector<std::string>& messages() const { return messages_; }
  [[nodiscard]] const Named& tensors() const { return tensors_; }

 private:
  std::int64_t step_ = 0;
  std::vector<std::string> messages_;
  Named tensors_;
};

class Replay {
 public:
  explicit Replay(const ReplayOptions& options) : options_(options) {}

  Result<ReplayReport> go() {
    SLUICE_ASSIGN(trace::LogReader log, trace::LogReader::open(options_.directory));
    SLUICE_ASSIGN(report_.recording, trace::read_recording(log));
    if (!report_.recording.has_values) {
      return invalid_input(
          "{} is of a simulation that timed tasks without computing: there is nothing to compute "
          "again; sluice trace report and export show it",
          options_.directory.string());
    }
    SLUICE_ASSIGN(const std::set<ActorIndex> running, who_runs(options_, report_.recording));
    SLUICE_TRY(prepare(running));
    SLUICE_ASSIGN(trace::Elements elements, trace::Elements::open(log.path()));
    SLUICE_TRY(run(log, elements));
    report_.progress = host_->progress();
    report_.difference = host_->difference();
    report_.closed = log.closed();
    report_.bytes = log.offset();
    return std::move(report_);
  }

 private:
  Status prepare(const std::set<ActorIndex>& running) {
    const Recording& recording = report_.recording;
    for (const ActorIndex actor : running) {
      if (recording.actors[static_cast<std::size_t>(actor)].kind != graph::ActorKind::kChannel)
        report_.actors.push_back(recording.name(actor));
    }
    if (!options_.actor.empty()) {
      SLUICE_ASSIGN(target_, recording.find(options_.actor));
    }
    if (!options_.until.empty()) {
      SLUICE_ASSIGN(until_, trace::MessagePattern::parse(options_.until));
    }
    SLUICE_ASSIGN(ClusterOptions options, cluster_options(recording, options_.sets));
    report_.kernel_set = kernel_set(options.device, options.recipe);
    options.includes = [&running](ActorIndex actor) { return running.contains(actor); };
    options.host = [this](device::CpuDevice& device) {
      auto host = std::make_unique<ReplayHost>(ReplayHost::Config{
          &report_.recording, device.context(),
          [this](ActorIndex from, ActorIndex to, const actors::Message& message) {
            note_sent(from, to, message);
          }});
      host_ = host.get();
      return host;
    };
    const model::ModelConfig model = options.model;
    SLUICE_ASSIGN(cluster_, Cluster::create(std::move(options)));
    if (recording.checkpoint.empty()) {
      SLUICE_TRY(initialize_weights(*cluster_, model, static_cast<std::uint64_t>(recording.seed)));
    } else {
      SLUICE_TRY(resume(*cluster_, options_.directory / trace::kCheckpointFolder));
    }
    return cluster_->start();
  }

  Status run(trace::LogReader& log, trace::Elements& elements) {
    for (;;) {
      SLUICE_ASSIGN(const ReplayHost::End end,
                    host_->run(log, elements, [this](auto&&... what) { return watch(what...); }));
      if (end != ReplayHost::End::kStopped) break;
      if (!options_.dump.empty()) SLUICE_TRY(dump());
      if (!options_.on_stop || !options_.on_stop(report_.stopped_before)) return {};
    }
    if (until_ && report_.stopped_before.empty() && !host_->difference()) {
      if (!sent_.empty() && !got_.empty()) {
        return invalid_input(
            "{} sends \"{}\" and does not get it; before that it got \"{}\": name this with "
            "--until",
            options_.actor, sent_, got_);
      }
      return invalid_input("{} got no message \"{}\" in this recording", options_.actor,
                           options_.until);
    }
    return {};
  }

  // False where `until` is met, once.
  bool watch(ActorIndex to, const trace::Delivered& delivered, const actors::Message& message) {
    if (options_.on_step && host_->progress().steps != steps_) {
      steps_ = host_->progress().steps;
      options_.on_step(host_->progress());
    }
    if (to != target_) return true;
    const bool here = until_ && report_.stopped_before.empty() && until_->matches(delivered);
    if (here) {
      report_.stopped_before = to_string(delivered);
      stopped_message_ = message;
      return false;
    }
    if (until_ && sent_.empty() && message.key.topic != actors::Topic::kControl &&
        until_->matches(delivered.key)) {
      got_ = to_string(delivered);
    }
    if (keeps()) inputs_.add(delivered.key, to_string(delivered), message);
    return true;
  }

  [[nodiscard]] bool keeps() const {
    return !options_.dump.empty() && report_.stopped_before.empty();
  }

  void note_sent(ActorIndex from, ActorIndex to, const actors::Message& message) {
    if (from != target_ || std::holds_alternative<actors::Credit>(message.body)) return;
    const trace::MessageHead head{message.key, static_cast<std::uint32_t>(message.body.index())};
    if (until_ && sent_.empty() &&
        until_->matches(trace::describe(message, options_.actor, /*sequence=*/-1))) {
      sent_ = trace::to_string(head);
    }
    if (!keeps()) return;
    outputs_.add(message.key,
                 fmt::format("{} to {}", trace::to_string(head), report_.recording.name(to)),
                 message);
  }

  Status dump() {
    SLUICE_TRY(store::make_directories(options_.dump));
    std::vector<std::pair<std::string, Tensor>> message;
    for (auto& [field, tensor] : trace::tensors_of(stopped_message_))
      if (tensor.has_storage()) message.emplace_back(field, tensor);
    SLUICE_TRY(write("message.safetensors", message));
    SLUICE_TRY(write("inputs.safetensors", inputs_.tensors()));
    SLUICE_TRY(write("outputs.safetensors", outputs_.tensors()));
    std::vector<std::pair<std::string, Tensor>> parameters;
    if (const model::ParameterSet* set = cluster_->parameters_of(target_)) {
      for (const model::Parameter& p : set->all()) {
        parameters.emplace_back(p.name, p.master);
        if (p.gradient.has_storage()) parameters.emplace_back("gradient." + p.name, p.gradient);
      }
    }
    SLUICE_TRY(write("parameters.safetensors", parameters));
    return write_summary();
  }

  // What the files hold, for people and scripts.
  Status write_summary() {
    const std::filesystem::path path = options_.dump / "dump.json";
    report_.dumped.push_back(path.string());
    const nlohmann::ordered_json summary = {{"recording", options_.directory.string()},
                                            {"kernels", report_.kernel_set},
                                            {"actor", options_.actor},
                                            {"stopped_before", report_.stopped_before},
                                            {"received_in_this_step", inputs_.messages()},
                                            {"sent_in_this_step", outputs_.messages()},
                                            {"files", files_}};
    return store::write_text(path, summary.dump(1) + "\n");
  }

  Status write(const char* name, const std::vector<std::pair<std::string, Tensor>>& tensors) {
    if (tensors.empty()) return {};
    const std::filesystem::path path = options_.dump / name;
    report_.dumped.push_back(path.string());
    nlohmann::ordered_json& contents = files_[name];
    for (const auto& [label, tensor] : tensors) {
      std::vector<std::int64_t> shape;
      for (int axis = 0; axis < tensor.shape().rank(); ++axis)
        shape.push_back(tensor.shape()[axis]);
      contents[label] = {{"dtype", name_of(tensor.dtype())}, {"shape", shape}};
    }
    return store::write_safetensors(path, tensors);
  }

  const ReplayOptions& options_;
  ReplayReport report_;
  ActorIndex target_ = graph::kNoActor;
  std::optional<trace::MessagePattern> until_;
  std::string sent_, got_;  // first like `until` that it sent; last of that key that it got before
  actors::Message stopped_message_;
  StepMessages inputs_, outputs_;
  nlohmann::ordered_json files_ = nlohmann::ordered_json::object();
  std::int64_t steps_ = 0;
  std::unique_ptr<Cluster> cluster_;
  ReplayHost* host_ = nullptr;  // cluster_ owns it
};

}  // namespace

Result<ReplayReport> replay(const ReplayOptions& options) {
  if (options.actor.empty() && !(options.until.empty() && options.dump.empty()))
    return invalid_input("--until and --dump are of one actor: name it with --actor");
  if (options.until.empty() && !options.dump.empty())
    return invalid_input("--dump writes what is there before a message: name it with --until");
  return Replay(options).go();
}

}  // namespace sluice::engine
