// A kill at every named moment leaves a store in which everything named is whole, which goes on working, and
// whose garbage one gc takes.
#include <sched.h>
#include <sys/mount.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "layers/base/error.h"
#include "layers/base/fault.h"
#include "layers/store/database.h"
#include "tests/layers/store/store_fixture.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// A life: everything that writes. Images a1 and a2 exist already.
void live(const std::filesystem::path& root) {
    Store store({.root = root, .durability = Durability::full});
    const std::string large(6 << 20, 'L');
    Files many;
    for (int i = 0; i < 40; ++i) many["m" + std::to_string(i)] = "one of many " + std::to_string(i);
    const Digest image =
        commit_image(store, "b:1", {}, {{{"shared", "shared content"}, {"large", large}}, many});
    {
        Transaction tx(store, "streamed");
        const auto writer = tx.open_object();
        writer->write(as_bytes(large + "streamed"));
        Inode inode = file(large + "streamed");
        inode.object = writer->finish();
        tx.add_layer({add("streamed", inode)});
        tx.commit();
    }
    const auto layers = store.catalogue().image(image)->layers;
    store.erofs_view(layers);
    store.directory_view(layers);
    store.create_container_directory(container_id(1));
    store.catalogue().write([&](Catalogue::Write& write) {
        write.add_container(container_row(container_id(1), "c1", image, layers));
    });
    if (const auto old = store.catalogue().name("a2"))
        store.catalogue().write([&](Catalogue::Write& write) { write.remove_image(old->image); });
    collect_garbage(store, {});
    store.catalogue().write([&](Catalogue::Write& write) { write.remove_container(container_id(1)); });
    store.remove_container_directory(container_id(1));
}

void prepare(const TempStore& temp) {
    Store store = temp.open();
    commit_image(store, "a1", {}, {{{"kept", std::string(5000, 'k')}, {"shared", "shared content"}}});
    const Digest gone =
        commit_image(store, "a2", {}, {{{"going", std::string(9000, 'g')}, {"going too", "2"}}});
    store.erofs_view(store.catalogue().image(gone)->layers);
}

/// Checks the store after `why`, then that it can do everything again.
std::string after(const TempStore& temp) {
    std::string report;
    {
        Store store = temp.open();
        report += fsck_errors(store);
        if (!store.catalogue().name("a1")) report += "a1 is gone\n";
        collect_garbage(store, {});
        report += fsck_all(store);
        // a life that is to be lived again must not meet its own container
        if (store.catalogue().container_by_id(container_id(1))) {
            store.catalogue().write(
                [&](Catalogue::Write& write) { write.remove_container(container_id(1)); });
            store.remove_container_directory(container_id(1));
        }
    }
    live(temp.root());
    Store store = temp.open();
    collect_garbage(store, {});
    report += fsck_all(store);
    if (!store.catalogue().name("b:1")) report += "b:1 is gone\n";
    return report;
}

/// The points that a life visits.
std::vector<std::string> visited_points() {
    TempStore temp;
    prepare(temp);
    const std::filesystem::path trace = temp.directory.path() / "trace";
    const ExitStatus status = in_child([&] {
        ::setenv("SURCOAT_FAULT_TRACE", trace.c_str(), 1);
        reread_fault_plan();
        live(temp.root());
    });
    REQUIRE(status.ok());
    std::vector<std::string> points;
    std::istringstream lines(read_file(trace));
    for (std::string line; std::getline(lines, line);) points.push_back(line);
    return points;
}

}  // namespace

TEST_CASE("a kill at any named moment leaves a whole store that goes on working", "[layers][crash]") {
    const std::vector<std::string> points = visited_points();
    for (const std::string& name : fault_point_names()) {
        const bool ours = name.rfind("stage.", 0) == 0 || name.rfind("sync.", 0) == 0 ||
                          name.rfind("publish.", 0) == 0 || name.rfind("gc.", 0) == 0 ||
                          name.rfind("view.", 0) == 0 || name.rfind("container.", 0) == 0;
        if (ours) CHECK_THAT(points, Catch::VectorContains(name));
    }
    for (const std::string& point : points) {
        for (const unsigned nth : {1U, 3U}) {
            TempStore temp;
            prepare(temp);
            const ExitStatus status = in_child([&] {
                ::setenv("SURCOAT_FAULT", fmt::format("{}:{}=kill", point, nth).c_str(), 1);
                reread_fault_plan();
                live(temp.root());
            });
            if (nth > 1 && status.ok()) break;  // not visited that often
            INFO(point << " visit " << nth);
            CHECK(status.signal == SIGKILL);
            CHECK(after(temp) == "");
        }
    }
}

TEST_CASE("an error at any named moment is reported, and leaves a whole store", "[layers][crash]") {
    for (const std::string& point : visited_points()) {
        TempStore temp;
        prepare(temp);
        const ExitStatus status = in_child([&] {
            ::setenv("SURCOAT_FAULT", (point + "=enospc").c_str(), 1);
            reread_fault_plan();
            try {
                live(temp.root());
            } catch (const Error& e) { ::_exit(e.code() == Errc::no_space ? 3 : 4); }
        });
        INFO(point);
        // A gc that could not remove one stray goes on with the others and says so.
        CHECK((status.code == 3 || (status.ok() && point == "gc.removed_stray")));
        CHECK(after(temp) == "");
    }
}

TEST_CASE("a full disk ends a commit with one clear error and leaves a whole store", "[layers][crash]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    for (const char* kind : {"tmpfs", "ext4"}) {
        TempDir temp;
        const std::filesystem::path report = temp.path() / "report";
        const std::filesystem::path disk = temp.path() / "disk";
        const std::filesystem::path image = temp.path() / "image";
        std::filesystem::create_directory(disk);
        if (std::string(kind) == "ext4") {
            std::ofstream(image).close();
            std::filesystem::resize_file(image, 24 << 20);
            REQUIRE(run_command({"mkfs.ext4", "-q", image.string()}).status.ok());
        }
        const ExitStatus status = in_child([&] {
            std::string text;
            if (::unshare(CLONE_NEWNS) != 0 ||
                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
                throw_errno("unshare");
            if (std::string(kind) == "tmpfs") {
                if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16m") != 0) throw_errno("mount a tmpfs");
            } else if (const auto mounted =
                           run_command({"mount", "-o", "loop", image.string(), disk.string()});
                       !mounted.status.ok()) {
                throw Error(Errc::failed, mounted.error_output);
            }
            Store store({.root = disk / "store"});
            commit_image(store, "small", {}, {{{"a", "small"}}});
            int failures = 0;
            for (int i = 0; i < 40; ++i) {
                try {
                    commit_image(
                        store, "filler-" + std::to_string(i), {},
                        {{{"f", std::string(900'000, static_cast<char>('a' + i % 26)) + std::to_string(i)}}});
                } catch (const Error& e) {
                    ++failures;
                    if (e.code() != Errc::no_space || e.hint().empty())
                        text += fmt::format("unclear: {} [{}]\n", e.what(), e.hint());
                }
            }
            if (failures == 0) text += "the disk was never full\n";
            text += fsck_errors(store);
            std::vector<Digest> fillers;
            for (const NameRow& name : store.catalogue().names()) {
                if (name.name != "small") fillers.push_back(name.image);
            }
            // A full disk must not keep anybody from making room.
            store.catalogue().write([&](Catalogue::Write& write) {
                for (const Digest& filler : fillers) write.remove_image(filler);
            });
            collect_garbage(store, {});
            text += fsck_all(store);
            commit_image(store, "again", {}, {{{"f", std::string(4'000'000, 'z')}}});
            text += fsck_all(store);
            std::ofstream(report) << text;
        });
        INFO(kind);
        CHECK(status.ok());
        CHECK(read_file(report) == "");
    }
}

TEST_CASE("fsck tells errors from garbage, and names who is harmed", "[layers][fsck]") {
    TempStore temp;
    Store store = temp.open();
    const Digest image = commit_image(store, "shop:1", {}, {{{"a", "content a"}, {"b", "content b"}}});
    const auto layers = store.catalogue().image(image)->layers;
    store.create_container_directory(container_id(1));
    store.catalogue().write([&](Catalogue::Write& write) {
        write.add_container(container_row(container_id(1), "web", image, layers));
    });
    const auto view = store.erofs_view(layers);
    REQUIRE(fsck_all(store).empty());
    const std::filesystem::path object = store.object_path(object_of("content a"));
    const std::filesystem::path toc = store.path("layers") / std::string(layers[0].digest.hex()) / "toc";
    const auto overwrite = [](const std::filesystem::path& path, const std::string& text) {
        std::filesystem::remove(path);
        write_file_durably(path, text, 0444);
    };
    SECTION("an object of another size") {
        overwrite(object, "short");
        const std::string found = describe(check_store(store, {}), true);
        CHECK_THAT(found, Catch::Contains("has 5 bytes, not 9") && Catch::Contains("used by shop:1") &&
                              Catch::Contains("surcoat rmi"));
    }
    SECTION("an object with another content is found by the deep check only") {
        overwrite(object, "content A");
        CHECK(describe(check_store(store, {}), true).empty());
        CHECK_THAT(fsck_errors(store), Catch::Contains("is damaged: its 9 bytes have the sha256") &&
                                           Catch::Contains("used by shop:1"));
        StringSink archive;
        CHECK_THROWS_WITH(store.write_archive(layers[0], archive),
                          Catch::Contains("made again, has the digest"));
    }
    SECTION("a damaged toc") {
        std::string bytes = read_file(toc);
        bytes[bytes.size() / 2] ^= 1;
        overwrite(toc, bytes);
        CHECK(describe(check_store(store, {}), true).empty());
        CHECK_THAT(fsck_errors(store), Catch::Contains("error layer " + layers[0].str()));
        CHECK_THROWS_AS(store.toc(layers[0]), Error);
    }
    SECTION("a missing toc") {
        std::filesystem::remove(toc);
        CHECK_THAT(fsck_errors(store), Catch::Contains("toc' is missing"));
        CHECK_THROWS_WITH(store.toc(layers[0]), Catch::Contains("has a row in the catalogue but no toc"));
    }
    SECTION("a damaged blob") {
        const std::filesystem::path blob = store.path("blobs/sha256") / std::string(image.hex());
        overwrite(blob, "config of Shop:1");
        CHECK_THAT(fsck_errors(store), Catch::Contains("its bytes have the digest"));
        CHECK_THROWS_WITH(store.read_blob(image), Catch::Contains("is damaged"));
    }
    SECTION("a container without its directory") {
        store.remove_container_directory(container_id(1));
        CHECK_THAT(fsck_errors(store),
                   Catch::Contains("error container web") && Catch::Contains("surcoat rm web"));
    }
    SECTION("a view that shows something else") {
        std::string bytes = read_file(view);
        bytes[2000] ^= 1;
        overwrite(view, bytes);
        CHECK_THAT(fsck_errors(store), Catch::Contains("it does not show what its layers hold"));
    }
    SECTION("files that nobody refers to are garbage") {
        std::filesystem::create_directories(store.path("objects/ab"));
        write_file_durably(store.path("objects/ab") / std::string(62, '0'), "x");
        write_file_durably(store.path("objects/ab") / (std::string(62, '1') + ".999"), "x");
        std::filesystem::create_directories(store.path("layers") / std::string(64, '2'));
        std::filesystem::create_directories(store.path("tx/999"));
        write_file_durably(store.path("views") / (std::string(64, '3') + ".erofs.new"), "x");
        write_file_durably(store.path("blobs/sha256") / std::string(64, '4'), "x");
        CHECK(fsck_errors(store).empty());
        CHECK(check_store(store, {}).size() == 6);
        const GcResult dry = collect_garbage(store, {.dry_run = true});
        const GcResult done = collect_garbage(store, {});
        CHECK(done.bytes == dry.bytes);
        CHECK(done.leftovers == 5);
        CHECK(done.views == 1);
        CHECK(fsck_all(store).empty());
    }
}
