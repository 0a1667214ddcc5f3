// The real programs, both ways: what they write is loaded, what is saved they read, and the same image is the
// same image wherever it has been. Everything happens in temporary directories; nothing needs a network.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <set>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/process.h"
#include "registry/layout.h"
#include "registry/transport.h"
#include "tests/registry/layouts.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::registry;
using namespace surcoat::registry::test;
using Catch::Contains;

namespace {

/// Runs a program that must succeed; returns what it printed, without the last newline.
std::string run(const std::vector<std::string>& argv) {
    const CommandResult result = run_command(argv);
    std::string line;
    for (const std::string& arg : argv) line += arg + " ";
    INFO(line << "\n" << result.output << result.error_output);
    REQUIRE(result.status.ok());
    std::string output = result.output;
    while (!output.empty() && output.back() == '\n') output.pop_back();
    return output;
}

/// Two layers as people make them: GNU tar over real files, then one that changes, hides and links.
struct Layers {
    explicit Layers(const std::filesystem::path& at) {
        const auto tree = at / "tree";
        run({"sh", "-ec",
             "mkdir -p \"$1/etc\" \"$1/usr/bin\" \"$1/empty\" \"$1/old\"; cd \"$1\"; echo ID=test > "
             "etc/os-release; printf 'one\\n' > old/gone; "
             "head -c 200000 /dev/zero | tr '\\0' 'z' > usr/bin/big; chmod 4755 usr/bin/big; ln usr/bin/big "
             "usr/bin/same; "
             "ln -s usr/bin bin; touch -d '2001-02-03 04:05:06' etc/os-release; chmod 1777 empty",
             "sh", tree.string()});
        base = (at / "base.tar").string();
        run({"tar", "-C", tree.string(), "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-cf",
             base, "."});
        const auto second = at / "second";
        run({"sh", "-ec", "mkdir -p \"$1/old\" \"$1/srv\"; cd \"$1\"; : > old/.wh.gone; echo app > srv/app",
             "sh", second.string()});
        top = (at / "top.tar").string();
        run({"tar", "-C", second.string(), "--sort=name", "--owner=7", "--group=8", "--numeric-owner", "-cf",
             top, "."});
    }
    std::string base, top;
};

/// An image that umoci made, in the layout `at`, with the tag `tag`.
void umoci_image(const Layers& layers, const std::filesystem::path& at, const std::string& tag) {
    const std::string image = at.string() + ":" + tag;
    run({"umoci", "init", "--layout", at.string()});
    run({"umoci", "new", "--image", image});
    run({"umoci", "raw", "add-layer", "--image", image, layers.base});
    run({"umoci", "raw", "add-layer", "--image", image, layers.top});
    run({"umoci", "config", "--image", image, "--config.cmd", "/bin/big", "--config.env", "A=1",
         "--config.label", "l=1", "--config.exposedports", "80/tcp"});
}

void check_rootfs(const std::filesystem::path& root) {
    INFO(root.string());
    CHECK(read_file(root / "srv/app") == "app\n");
    CHECK(read_file(root / "etc/os-release") == "ID=test\n");
    CHECK_FALSE(std::filesystem::exists(root / "old/gone"));
    CHECK(std::filesystem::exists(root / "old"));
    CHECK(std::filesystem::read_symlink(root / "bin") == "usr/bin");
    const auto big = lstat_path(root / "usr/bin/big");
    REQUIRE(big);
    CHECK(big->st_nlink == 2);
    CHECK((big->st_mode & 07777) == 04755);
    CHECK(lstat_path(root / "usr/bin/same")->st_ino == big->st_ino);
    CHECK((lstat_path(root / "empty")->st_mode & 07777) == 01777);
    CHECK(lstat_path(root / "srv/app")->st_uid == 7);
    CHECK(lstat_path(root / "etc/os-release")->st_mtim.tv_sec == 981173106);
}

std::string save(Store& store, const std::string& name, ArchiveFormat format, const std::filesystem::path& to,
                 Compression compression = Compression::none) {
    const SaveOptions options{.format = format, .compression = compression};
    if (format == ArchiveFormat::oci_directory) {
        save_images(store, {name}, options, to);
    } else {
        StringSink sink;
        save_images(store, {name}, options, sink);
        put(to, sink.text);
    }
    return to.string();
}

std::string id_of_raw_config(const std::string& skopeo_source) {
    return Digest::of(run_command({"skopeo", "inspect", "--raw", "--config", skopeo_source}).output).str();
}

/// podman or buildah with a store of their own, gone with the object.
class Containers {
  public:
    explicit Containers(const std::string& program) : program_(program) {}
    ~Containers() {
        // vfs leaves nothing mounted; what is left are files.
        run_command(command({"rmi", "--all", "--force"}));
    }
    std::string operator()(const std::vector<std::string>& arguments) const {
        return run(command(arguments));
    }
    const std::filesystem::path& path() const { return directory_.path(); }

  private:
    std::vector<std::string> command(const std::vector<std::string>& arguments) const {
        std::vector<std::string> all = {program_,
                                        "--root",
                                        (directory_.path() / "root").string(),
                                        "--runroot",
                                        (directory_.path() / "run").string(),
                                        "--storage-driver",
                                        "vfs"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        return all;
    }
    std::string program_;
    TempDir directory_;
};

}  // namespace

TEST_CASE("an image of umoci's is loaded, saved with the same digests, and unpacked by umoci",
          "[registry][interop][umoci]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("umoci"));
    if (::geteuid() != 0) {
        WARN("skipped: umoci unpacks owners as root only");
        return;
    }
    TestStore t;
    const auto at = t.directory.path();
    umoci_image(Layers(at), at / "box", "v1");
    const auto loaded = load_images(t.store, (at / "box").string(), no_progress());
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].names == std::vector<std::string>{"box:v1"});
    const StoredImage image = ImageStore(t.store).get("box:v1");
    CHECK(image.image.config.cmd == std::vector<std::string>{"/bin/big"});
    CHECK(image.image.config.labels.at("l") == "1");
    CHECK(image.image.config.exposed_ports == std::vector<std::string>{"80/tcp"});

    for (const Compression compression : {Compression::none, Compression::zstd}) {
        const auto out = at / ("out-" + std::string(to_string(compression)));
        save(t.store, "box:v1", ArchiveFormat::oci_directory, out, compression);
        // Its gzip layers were kept, so whatever is asked for plain ones the digests are those of before.
        CHECK(read_file(out / blob_member(image.row.manifest)) ==
              read_file(at / "box" / blob_member(image.row.manifest)));
        run({"umoci", "unpack", "--image", out.string() + ":box:v1", out.string() + ".bundle"});
        check_rootfs(out.string() + ".bundle/rootfs");
    }
}

TEST_CASE("umoci unpacks layers that were compressed here", "[registry][interop][umoci]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("umoci"));
    if (::geteuid() != 0) {
        WARN("skipped: umoci unpacks owners as root only");
        return;
    }
    TestStore t(KeepBlobs::never);
    const auto at = t.directory.path();
    umoci_image(Layers(at), at / "box", "v1");
    load_images(t.store, (at / "box").string(), no_progress());
    for (const Compression compression :
         {Compression::none, Compression::gzip}) {  // this umoci knows no zstd
        const auto out = at / ("out-" + std::string(to_string(compression)));
        save(t.store, "box:v1", ArchiveFormat::oci_directory, out, compression);
        run({"umoci", "unpack", "--image", out.string() + ":box:v1", out.string() + ".bundle"});
        check_rootfs(out.string() + ".bundle/rootfs");
    }
}

TEST_CASE("skopeo copies what is saved into every format of its own, and back",
          "[registry][interop][skopeo]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("skopeo"));
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("umoci"));
    TestStore t;
    const auto at = t.directory.path();
    umoci_image(Layers(at), at / "box", "v1");
    load_images(t.store, (at / "box").string(), no_progress());
    const Essence original = essence_of(t.store, "box:v1");
    const std::string digest = ImageStore(t.store).get("box:v1").row.manifest.str();

    const std::pair<ArchiveFormat, std::string> formats[] = {
        {ArchiveFormat::oci_directory, "oci:"},
        {ArchiveFormat::oci_archive, "oci-archive:"},
        {ArchiveFormat::docker_archive, "docker-archive:"},
        {ArchiveFormat::docker_archive, "oci-archive:"}};
    int number = 0;
    for (const auto& [format, transport] : formats) {
        const std::string source =
            transport + save(t.store, "box:v1", format, at / ("saved" + std::to_string(number++)));
        INFO(source);
        const bool docker = transport == "docker-archive:";
        // skopeo shows a docker-archive's own configuration, and of OCI the manifest's digest as we know it.
        CHECK(id_of_raw_config(source) == original.id);
        if (!docker) {
            CHECK_THAT(run({"skopeo", "inspect", source}), Contains("\"Digest\": \"" + digest + "\""));
            CHECK_THAT(run({"skopeo", "inspect", source + ":box:v1"}), Contains(digest));
        }
        for (const std::string to : {"oci:", "oci-archive:", "docker-archive:", "dir:"}) {
            const auto copy = at / ("copy" + std::to_string(number++));
            const std::string tagged = to + copy.string() + (to == "dir:" ? "" : ":box:v2");
            INFO(tagged);
            run({"skopeo", "copy", "--insecure-policy", source, tagged});
            std::string path = copy.string();
            if (to == "dir:") {  // skopeo's own; loaded by way of another copy
                CHECK_THAT(error_of([&] { load_images(t.store, path, no_progress()); }),
                           Contains("skopeo copy dir:PATH"));
                path += ".oci";
                run({"skopeo", "copy", "--insecure-policy", tagged, "oci:" + path + ":box:v2"});
            }
            TestStore u;
            const auto loaded = load_images(u.store, path, no_progress());
            REQUIRE(loaded.size() == 1);
            CHECK(loaded[0].names == std::vector<std::string>{"box:v2"});
            const Essence copied = essence_of(u.store, "box:v2");
            CHECK(copied.diff_ids == original.diff_ids);
            // Between docker's and OCI's formats skopeo writes a new configuration; within one it does not.
            if (docker == (to == "docker-archive:")) CHECK(copied.id == original.id);
            if (!docker && to.starts_with("oci"))
                CHECK(ImageStore(u.store).get("box:v2").row.manifest.str() == digest);
        }
    }
}

TEST_CASE("skopeo finds one of several images in an archive by its name", "[registry][interop][skopeo]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("skopeo"));
    TestStore t;
    Layout layout;
    layout.list(layout.image({layer_tar({{"a", "1"}})}), "one:1");
    layout.list(layout.image({layer_tar({{"b", "2"}})}), "localhost:5000/two:1");
    const auto at = t.directory.path();
    load_images(t.store, put(at / "in.tar", layout.tar()), no_progress());
    StringSink sink;
    save_images(t.store, {"one:1", "localhost:5000/two:1"}, {}, sink);
    const std::string path = put(at / "out.tar", sink.text);
    const std::string one = essence_of(t.store, "one:1").id,
                      two = essence_of(t.store, "localhost:5000/two:1").id;
    CHECK(id_of_raw_config("docker-archive:" + path + ":one:1") == one);
    CHECK(id_of_raw_config("docker-archive:" + path + ":localhost:5000/two:1") == two);
    CHECK(id_of_raw_config("oci-archive:" + path + ":one:1") == one);
    CHECK(id_of_raw_config("oci-archive:" + path + ":localhost:5000/two:1") == two);
}

TEST_CASE("with keep-blobs always skopeo and umoci read the store itself", "[registry][interop][layout]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("skopeo"));
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("umoci"));
    if (::geteuid() != 0) {
        WARN("skipped: umoci unpacks owners as root only");
        return;
    }
    TestStore t(KeepBlobs::always);
    const auto at = t.directory.path();
    umoci_image(Layers(at), at / "box", "v1");
    load_images(t.store, (at / "box").string(), no_progress());
    // One that comes without a manifest, too: its layers are plain and ours to add.
    StringSink sink;
    save_images(t.store, {"box:v1"}, {}, sink);
    run({"skopeo", "copy", "--insecure-policy", "docker-archive:" + put(at / "d.tar", sink.text),
         "docker-archive:" + (at / "legacy.tar").string() + ":legacy:1"});
    TestStore u(KeepBlobs::always);
    load_images(u.store, (at / "legacy.tar").string(), no_progress());

    for (const auto& [store, name] :
         {std::pair(&t.store, std::string("box:v1")), std::pair(&u.store, std::string("legacy:1"))}) {
        const std::string root = store->root().string();
        CHECK(id_of_raw_config("oci:" + root + ":" + name) == essence_of(t.store, "box:v1").id);
        CHECK_THAT(run({"skopeo", "inspect", "oci:" + root + ":" + name}),
                   Contains(ImageStore(*store).get(name).row.manifest.str()));
        run({"skopeo", "copy", "--insecure-policy", "oci:" + root + ":" + name, "oci:" + root + ".copy:x"});
        run({"umoci", "unpack", "--image", root + ":" + name, root + ".bundle"});
        check_rootfs(root + ".bundle/rootfs");
        CHECK(run({"umoci", "ls", "--layout", root}) == name);
    }
}

TEST_CASE("podman loads what is saved, and what podman saves is loaded", "[registry][interop][podman]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("podman"));
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("umoci"));
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_mount());
    TestStore t(KeepBlobs::never);  // so that layers are saved plain, or compressed by us
    const auto at = t.directory.path();
    umoci_image(Layers(at), at / "box", "v1");
    load_images(t.store, (at / "box").string(), no_progress());
    const Essence original = essence_of(t.store, "box:v1");
    int number = 0;
    for (const ArchiveFormat format : {ArchiveFormat::docker_archive, ArchiveFormat::oci_archive}) {
        for (const Compression compression : {Compression::none, Compression::gzip}) {
            Containers podman("podman");
            const std::string file =
                save(t.store, "box:v1", format, at / ("saved" + std::to_string(number++)), compression);
            CHECK_THAT(podman({"load", "-i", file}), Contains("docker.io/library/box:v1"));
            CHECK("sha256:" + podman({"inspect", "--format", "{{.Id}}", "docker.io/library/box:v1"}) ==
                  original.id);
            for (const std::string as : {"docker-archive", "oci-archive"}) {
                const auto out = podman.path() / as;
                podman({"save", "--format", as, "-o", out.string(), "docker.io/library/box:v1"});
                TestStore u;
                const auto loaded = load_images(u.store, out.string(), no_progress());
                REQUIRE(loaded.size() == 1);
                CHECK(loaded[0].names == std::vector<std::string>{"box:v1"});
                CHECK(essence_of(u.store, "box:v1").diff_ids == original.diff_ids);
                // From OCI to docker's format podman writes a new configuration.
                if (as == "oci-archive" && format == ArchiveFormat::oci_archive)
                    CHECK(essence_of(u.store, "box:v1").id == original.id);
                CHECK(ImageStore(u.store).get("box:v1").image.config.cmd ==
                      std::vector<std::string>{"/bin/big"});
            }
        }
    }
}

TEST_CASE("what buildah commits and pushes is loaded, and buildah pulls what is saved",
          "[registry][interop][buildah]") {
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_find("buildah"));
    SURCOAT_REQUIRE_OR_SKIP(surcoat::test::cannot_mount());
    TestStore t;
    const auto at = t.directory.path();
    Layers layers(at);
    Containers buildah("buildah");
    const std::string container = buildah({"from", "scratch"});
    buildah({"add", container, layers.base, "/"});
    buildah({"config", "--cmd", "[\"/bin/big\"]", "--env", "A=1", "--port", "80", container});
    const std::string id = buildah({"commit", "--quiet", container, "localhost/made:1"});
    buildah({"rm", container});
    const std::string image_id = "sha256:" + buildah({"inspect", "--type", "image", "--format",
                                                      "{{.FromImageID}}", "localhost/made:1"});
    for (const std::string transport : {"oci:", "oci-archive:", "docker-archive:"}) {
        const auto out = at / ("pushed-" + transport.substr(0, transport.size() - 1));
        buildah({"push", "--quiet", "localhost/made:1", transport + out.string() + ":made:2"});
        TestStore u;
        const auto loaded = load_images(u.store, out.string(), no_progress());
        REQUIRE(loaded.size() == 1);
        CHECK(loaded[0].names.front() ==
              "made:2");  // into a docker-archive buildah writes the image's other name too
        const StoredImage image = ImageStore(u.store).get("made:2");
        CHECK(image.image.config.cmd == std::vector<std::string>{"/bin/big"});
        CHECK(u.store.tree(image.row.layers)->find("usr/bin/same") != nullptr);
        if (transport != "docker-archive:") CHECK(image.row.id.str() == image_id);
        const std::string again =
            save(u.store, "made:2", ArchiveFormat::oci_archive, at / ("again-" + out.filename().string()));
        CHECK("sha256:" + buildah({"pull", "--quiet", "oci-archive:" + again}) == image.row.id.str());
    }
    CHECK_FALSE(id.empty());
}
