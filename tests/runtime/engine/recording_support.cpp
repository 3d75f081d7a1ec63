// SimHost with a recorder, and a hand between an actor and its host.
#include "tests/runtime/engine/recording_support.hpp"

#include "runtime/engine/load.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/trace/recorder.hpp"
#include "tests/runtime/engine/training_support.hpp"

namespace sluice::engine {
namespace {

using actors::Message;
using graph::ActorIndex;

constexpr const char* kConfig = R"(
[topology]
pipeline_parallel_size = 2
expert_parallel_size = 2
[train]
steps = 3
sequence_length = 12
micro_batch_size = 1
global_batch_size = 3
learning_rate = 0.01
warmup_steps = 0
seed = 5
[device]
threads = 1
isa = "reference"
)";

class Flipping final : public actors::Actor {
 public:
  Flipping(std::unique_ptr<actors::Actor> inner, actors::Key key)
      : inner_(std::move(inner)), key_(key) {}
  void on_message(actors::Context& context, Message message) override {
    Gate gate(context, key_);
    inner_->on_message(gate, std::move(message));
  }
  [[nodiscard]] bool idle() const override { return inner_->idle(); }

 private:
  class Gate final : public actors::Context {
   public:
    Gate(actors::Context& outer, actors::Key key) : outer_(outer), key_(key) {}
    void send(ActorIndex to, Message message) override {
      if (message.key == key_) {
        const Tensor rows = std::get<actors::Combine>(message.body).sums.rows;
        rows.bytes()[(2 * rows.shape()[1] + 7) * 4] ^= std::byte{1};
      }
      outer_.send(to, std::move(message));
    }
    void submit(actors::Task task) override { outer_.submit(std::move(task)); }
    void set_timer(double seconds, std::uint64_t timer) override {
      outer_.set_timer(seconds, timer);
    }

   private:
    actors::Context& outer_;
    actors::Key key_;
  };

  std::unique_ptr<actors::Actor> inner_;
  actors::Key key_;
};

class FlippingHost final : public host::Host {
 public:
  FlippingHost(host::SimHost::Config config, std::optional<Flip> flip)
      : sim_(std::move(config)), flip_(std::move(flip)) {}
  void add(ActorIndex index, const graph::ActorPlan& place,
           std::unique_ptr<actors::Actor> actor) override {
    if (flip_ && place.name == flip_->actor)
      actor = std::make_unique<Flipping>(std::move(actor), flip_->key);
    sim_.add(index, place, std::move(actor));
  }
  Status start() override { return sim_.start(); }
  void send(ActorIndex to, Message message) override { sim_.send(to, std::move(message)); }
  Result<std::optional<Message>> receive_for(std::chrono::nanoseconds wait_max) override {
    return sim_.receive_for(wait_max);
  }
  Activity activity() const override { return sim_.activity(); }
  std::vector<std::optional<actors::Waiting>> waiting(std::chrono::nanoseconds max) override {
    return sim_.waiting(max);
  }
  Status stop() override { return sim_.stop(); }

 private:
  host::SimHost sim_;
  std::optional<Flip> flip_;
};

}  // namespace

Status record(const std::filesystem::path& directory, trace::Payloads payloads,
              const std::vector<std::string>& sets, std::uint64_t seed, std::optional<Flip> flip,
              host::SimHost::Config sim) {
  SLUICE_ASSIGN(const config::Config config, config::parse_config(kConfig, "test", sets));
  const model::ModelConfig model = small_model();
  SLUICE_ASSIGN(ClusterOptions options, cluster_options(config, model));
  RandomReader reader(model.vocab_size);
  options.reader = &reader;
  trace::Recorder recorder;
  options.host = [&](device::CpuDevice& device) {
    sim.seed = seed;
    sim.compute = device.context();
    sim.observer = &recorder;
    return std::make_unique<FlippingHost>(std::move(sim), flip);
  };
  SLUICE_ASSIGN(const auto cluster, Cluster::create(options));
  SLUICE_TRY(initialize_weights(*cluster, model, static_cast<std::uint64_t>(config.train.seed)));
  trace::Recording recording = describe_run(config, model, {});
  recording.payloads = payloads;
  recording.virtual_time = true;
  recording.ranks_share_lanes = false;
  trace::set_plan(recording, cluster->plan());
  SLUICE_TRY(recorder.begin(directory, recording));
  SLUICE_TRY(cluster->start());
  SLUICE_TRY(run_steps(*cluster, 0, config.train.steps));
  SLUICE_TRY(cluster->stop());
  return recorder.end();
}

}  // namespace sluice::engine
