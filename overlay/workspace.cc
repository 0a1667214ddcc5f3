#include "overlay/workspace.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <random>
#include <set>

#include "layers/base/file.h"
#include "layers/base/json.h"
#include "layers/base/root_dir.h"
#include "overlay/kernel_overlay.h"
#include "overlay/stubs.h"

namespace surcoat::overlay {
namespace {

// The same in every build, as the commands can see it and write it down.
constexpr const char* kBuildHost = "build";

std::string debug_name() {
    std::random_device random;
    return fmt::format("debug-{:08x}", random());
}

constexpr const char* kConfigType = "application/vnd.oci.image.config.v1+json";
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* kLayerType = "application/vnd.oci.image.layer.v1.tar";

/// A container stands on an image, and a build that failed has none yet: this makes one of the chain, without a
/// name, so that it goes with the container. Returns its id.
Digest publish_image(Store& store, const std::vector<DiffId>& chain, const ImageConfig& config) {
    std::vector<std::string> diff_ids;
    Json layers = Json::array();
    for (const DiffId& layer : chain) {
        const auto row = store.catalogue().layer(layer);
        if (!row) throw Error(Errc::not_found, fmt::format("layer {} is not in the store", layer.str()));
        diff_ids.push_back(layer.str());
        // Uncompressed, for that form can always be made again and its digest is the DiffId.
        Json descriptor = Json::object();
        descriptor.set("mediaType", kLayerType).set("digest", layer.str()).set("size", row->archive_bytes);
        layers.push_back(std::move(descriptor));
    }
    const Platform platform = Platform::host();
    Json run = Json::object();
    run.set_if("User", config.user).set_if("Env", config.env).set_if("WorkingDir", config.working_dir);
    Json rootfs = Json::object();
    rootfs.set("type", "layers").set("diff_ids", diff_ids);
    Json image = Json::object();
    image.set("architecture", platform.architecture).set("os", platform.os).set("config", std::move(run));
    image.set("rootfs", std::move(rootfs));
    const std::string config_text = image.dump();

    Transaction transaction(store, "keep a failed build step");
    const Digest id = transaction.add_blob(config_text, kConfigType);
    Json config_descriptor = Json::object();
    config_descriptor.set("mediaType", kConfigType).set("digest", id.str()).set("size", std::uint64_t{config_text.size()});
    Json manifest = Json::object();
    manifest.set("schemaVersion", 2).set("mediaType", kManifestType).set("config", std::move(config_descriptor));
    manifest.set("layers", std::move(layers));
    const Digest manifest_digest = transaction.add_blob(manifest.dump(), kManifestType);
    transaction.commit([&](Catalogue::Write& write) {
        if (!store.catalogue().image(id)) {
            write.add_image({.id = id, .manifest = manifest_digest, .layers = chain, .added_at = std::time(nullptr), .created_at = {}});
        }
    });
    return id;
}

class UnionWorkspace final : public build::Workspace {
  public:
    UnionWorkspace(Store& store, std::vector<DiffId> chain, ImageConfig config)
        : store_(store), config_(std::move(config)), scratch_(store, "build step") {
        lowers_.layers = std::move(chain);
        const std::filesystem::path directory = scratch_.make_scratch_directory("workspace");
        upper_ = {directory / "upper", directory / "work"};
        make_directories(upper_.upper);
        make_directories(upper_.work);
    }

    ExitStatus run(const build::Command& command, const std::function<void(std::string_view)>& output) override {
        const ContainerSpec spec = spec_of(command);
        for (const std::string& point : sandbox_mount_points(spec)) mount_points_.insert(point);
        UniqueFd root = mount_overlay(store_, lowers_, upper_, {.scratch = true});

        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
        const UniqueFd reading(ends[0]);
        UniqueFd writing(ends[1]);
        const UniqueFd nothing = open_file("/dev/null", O_RDONLY);
        Streams streams;
        streams.in = nothing.get();
        streams.out = writing.get();
        streams.err = writing.get();
        Sandbox sandbox = Sandbox::start(std::move(root), spec, kBuildHost, streams);
        writing.reset();

        // Ends when the last process that could write has gone, at the latest with the sandbox's init.
        std::array<char, 1 << 16> buffer;
        for (;;) {
            const ssize_t n = ::read(reading.get(), buffer.data(), buffer.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) throw_errno("read what the command prints");
            if (n == 0) break;
            output(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
        }
        return sandbox.wait();
    }

    Tree tree(Transaction& transaction) override {
        Tree merged = container_tree(store_, lowers_, upper_, [&](int fd, std::uint64_t size) {
            return transaction.add_object_from(fd, size);
        });
        remove_stubs(merged, *store_.tree(lowers_.layers), {mount_points_.begin(), mount_points_.end()});
        return merged;
    }

    std::string keep(const build::Command& failed) override {
        NewContainer container{.name = debug_name(),
                               .image = publish_image(store_, lowers_.layers, config_),
                               .image_name = "(a failed build step)",
                               .layers = lowers_.layers,
                               .spec = spec_of(failed)};
        container.spec.hostname.clear();
        container.spec.scratch = false;
        container.spec.open_stdin = true;
        const std::string name = container.name;
        Containers containers(store_);
        const std::string id = containers.create({std::move(container)}).front();

        // The step wrote without syncing (volatile); from here on the upper is somebody's data.
        const UniqueFd upper = open_file(upper_.upper, O_RDONLY | O_DIRECTORY);
        if (::syncfs(upper.get()) != 0) throw_errno("sync the failed step's root");
        remove_tree(upper_.work / "work" / "incompat");
        const std::filesystem::path directory = store_.container_directory(id);
        for (const char* part : {"upper", "work"}) {
            remove_tree(directory / part);
            rename_file(upper_.upper.parent_path() / part, directory / part);
        }
        fsync_directory(directory);
        return name;
    }

  private:
    ContainerSpec spec_of(const build::Command& command) const {
        ContainerSpec spec;
        spec.args = command.args;
        spec.env = command.env;
        spec.working_dir = command.working_dir;
        spec.user = command.user;
        spec.hostname = kBuildHost;
        spec.network = command.network ? Network::host : Network::none;
        spec.stop_signal = config_.stop_signal;
        spec.labels = config_.labels;
        spec.files = command.files;
        spec.scratch = true;
        return spec;
    }

    Store& store_;
    ImageConfig config_;
    Transaction scratch_;  ///< owns the directory, and keeps gc away from it
    LowerStack lowers_;
    UpperLayer upper_;
    std::set<std::string> mount_points_;
};

}  // namespace

std::unique_ptr<build::Workspace> UnionWorkspaces::open(const std::vector<DiffId>& chain, const ImageConfig& config) {
    return std::make_unique<UnionWorkspace>(store_, chain, config);
}

}  // namespace surcoat::overlay
