#include <fmt/format.h>

#include <ctime>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/build/engine.h"
#include "layers/recipe/parse.h"
#include "overlay/container.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::string container;
    std::string name;
    std::string message;
    std::string author;
    std::vector<std::string> changes;
    bool quiet = false;
};

/// Finds one image whatever it is asked for.
class OneImage final : public build::ImageSource {
  public:
    explicit OneImage(Image image) : image_(std::move(image)) {}
    std::optional<Image> find(const std::string&, const Platform&) override { return image_; }
    std::vector<std::string> known_names() override { return {}; }

  private:
    Image image_;
};

/// docker's --change: instructions of a recipe that touch the configuration only.
void apply_changes(Program& program, Image& image, const std::vector<std::string>& changes, Lease& lease) {
    if (changes.empty()) return;
    std::string text = "FROM committed\n";
    for (const std::string& change : changes) text += change + "\n";
    const recipe::Recipe recipe = recipe::parse(text, "--change");
    for (const recipe::Step& step : recipe.stages.at(0).steps) {
        if (std::holds_alternative<recipe::Run>(step.what) || std::holds_alternative<recipe::Copy>(step.what)) {
            throw recipe.source.error(step.where, "commit --change takes CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, STOPSIGNAL, HEALTHCHECK");
        }
    }
    auto context = build::BuildContext::without_files(text, "--change");
    OneImage source(image);
    build::BuildObserver nobody;
    build::Engine engine(program.store(), source, program.workspaces(), nobody);
    image = engine.build(recipe, context, {}, lease).image;
}

int run(Program& program, const Args& args) {
    std::vector<std::string> names;
    if (!args.name.empty()) names.push_back(registry::Reference::parse(args.name).with_default_tag().full());
    Store& store = program.store();
    overlay::Containers& containers = program.containers();
    const ContainerRow row = containers.get(args.container);
    Image image = program.images().get(row.image).image;
    image.layers = row.layers;

    Lease lease(store, "commit " + args.container);
    Transaction transaction(store, "commit " + args.container);
    const auto before = store.tree(row.layers);
    const Tree after = containers.tree(row, [&](int fd, std::uint64_t size) { return transaction.add_object_from(fd, size); });
    const DiffId layer = transaction.add_layer(diff_trees(*before, after, true));
    image.layers.push_back(layer);
    image.created = rfc3339(std::time(nullptr));
    if (!args.author.empty()) image.author = args.author;
    const auto spec = overlay::ContainerSpec::from_json(row.spec);
    image.history.push_back({image.created, fmt::format("{}", fmt::join(spec.args, " ")), args.author, args.message, false});
    transaction.commit([&](Catalogue::Write& write) { lease.hold_layers(write, image.layers); });

    apply_changes(program, image, args.changes, lease);
    Transaction publication(store, "commit " + args.container);
    const auto staged = program.images().stage(publication, image);
    publication.commit([&](Catalogue::Write& write) { registry::ImageStore::publish(write, staged, names); });
    program.images().write_layout_index();
    print(staged.id.str() + "\n");
    if (!args.quiet) say(fmt::format("new layer {}", human_bytes(store.catalogue().layer(layer)->content_bytes)));
    return 0;
}

}  // namespace

Verb commit_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "commit";
    verb.group = "Build";
    verb.synopsis = "commit [OPTIONS] CONTAINER [NAME]";
    verb.summary = "make an image of what a container has become";
    verb.examples = {{"surcoat commit -m 'with curl' -c 'CMD [\"sh\"]' box box:2", "its changes become one layer more"}};
    verb.declare = [args](Options& options) {
        options.value("-m,--message", args->message, "a comment for the history", "TEXT");
        options.value("-a,--author", args->author, "who made it", "NAME");
        options.list("-c,--change", args->changes, "an instruction applied to the configuration", "INSTRUCTION");
        options.flag("-q,--quiet", args->quiet, "print only the image's ID");
        options.argument("CONTAINER", args->container, "name or ID");
        options.argument("NAME", args->name, "the image's name", false);
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    verb.needs_mounts = true;
    return verb;
}

}  // namespace surcoat::cmd
