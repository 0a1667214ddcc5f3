#include <catch2/catch.hpp>
#include <thread>

#include "layers/base/error.h"
#include "layers/store/database.h"
#include "tests/layers/store/store_fixture.h"

using namespace surcoat;
using namespace surcoat::test;

TEST_CASE("images, names and containers are found again as they were written", "[layers][catalogue]") {
    TempStore temp;
    Store store = temp.open();
    const DiffId base = commit_files(store, {{"a", "1"}});
    const Digest image = commit_image(store, "docker.io/library/shop:1", {base}, {{{"b", "2"}}});
    Catalogue& catalogue = store.catalogue();
    const auto row = catalogue.image(image);
    REQUIRE(row);
    CHECK(row->layers.size() == 2);
    CHECK(row->layers[0] == base);
    CHECK(catalogue.images_by_prefix(image.short_hex()).size() == 1);
    CHECK(catalogue.images_by_prefix("zz*").empty());
    CHECK(catalogue.images_by_prefix("").empty());
    CHECK(catalogue.name("docker.io/library/shop:1")->image == image);
    CHECK(catalogue.names_of(image).size() == 1);

    ContainerRow container = container_row(container_id(1), "web", image, row->layers);
    catalogue.write([&](Catalogue::Write& write) { write.add_container(container); });
    container.state = "running";
    container.monitor = ProcessIdentity::self();
    container.started_at = 5;
    catalogue.write([&](Catalogue::Write& write) { write.set_container_state(container); });
    const auto found = catalogue.container_by_name("web");
    REQUIRE(found);
    CHECK(found->state == "running");
    CHECK(found->monitor == container.monitor);
    CHECK_FALSE(found->init);
    CHECK(found->layers == row->layers);
    CHECK(catalogue.containers_by_prefix(container.id.substr(0, 60)).size() == 1);
    CHECK(catalogue.container_count() == 1);
    CHECK_THROWS_WITH(catalogue.write([&](Catalogue::Write& write) {
        write.add_container(container_row(container_id(2), "web", image, {}));
    }),
                      Catch::Contains("there is a container named 'web' already"));
    CHECK_THROWS_WITH(catalogue.write([&](Catalogue::Write& write) { write.remove_image(image); }),
                      Catch::Contains("is used by container web"));
    catalogue.write([&](Catalogue::Write& write) {
        write.remove_container(container.id);
        write.remove_image(image);
        write.event("image.remove", "{}");
    });
    CHECK(catalogue.images().empty());
    CHECK(catalogue.names().empty());
    CHECK(catalogue.events().size() == 1);
}

TEST_CASE("an image whose layer is missing is refused, and nothing of the write remains",
          "[layers][catalogue]") {
    TempStore temp;
    Store store = temp.open();
    const DiffId missing{Digest::of("missing")};
    const Digest id = Digest::of("config");
    const std::int64_t before = store.catalogue().generation();
    CHECK_THROWS_WITH(store.catalogue().write([&](Catalogue::Write& write) {
        write.add_image({.id = id, .manifest = id, .layers = {missing}, .added_at = 0, .created_at = {}});
    }),
                      Catch::Contains("is not in the store"));
    CHECK_FALSE(store.catalogue().image(id));
    CHECK(store.catalogue().generation() == before);
    CHECK_THROWS_WITH(store.catalogue().write([&](Catalogue::Write& write) { write.set_name("x", id); }),
                      Catch::Contains("is not in the store"));
}

TEST_CASE("readers see one generation and wait for nobody while a long write runs", "[layers][catalogue]") {
    TempStore temp;
    Store store = temp.open();
    commit_image(store, "a", {}, {{{"a", "1"}}});
    Store reader = temp.open();
    store.catalogue().write([&](Catalogue::Write& write) {
        write.event("long", "{}");
        CHECK(reader.catalogue().images().size() == 1);
        CHECK(reader.catalogue().events().empty());
    });
    CHECK(reader.catalogue().events().size() == 1);
    reader.catalogue().snapshot([&] {
        const std::int64_t seen = reader.catalogue().generation();
        commit_image(store, "b", {}, {{{"b", "1"}}});
        CHECK(reader.catalogue().generation() == seen);
        CHECK(reader.catalogue().images().size() == 1);
    });
    CHECK(reader.catalogue().images().size() == 2);
}

TEST_CASE("a write inside a write is a mistake that is said, not a deadlock", "[layers][catalogue]") {
    TempStore temp;
    Store store = temp.open();
    CHECK_THROWS_WITH(store.catalogue().write(
                          [&](Catalogue::Write&) { store.catalogue().write([](Catalogue::Write&) {}); }),
                      Catch::Contains("inside another transaction"));
}

TEST_CASE("build cache rows carry their layer and go when they are told", "[layers][catalogue]") {
    TempStore temp;
    Store store = temp.open();
    const DiffId layer = commit_files(store, {{"a", "1"}});
    store.catalogue().write([&](Catalogue::Write& write) {
        write.put_cache({.key = "k1", .parts_json = "[1]", .layer = layer, .used_at = 1});
        write.put_cache({.key = "k2", .parts_json = "[2]", .layer = {}, .used_at = 1});
        write.touch_cache("k1");
    });
    CHECK(store.catalogue().cache("k1")->layer == layer);
    CHECK(store.catalogue().cache("k1")->used_at > 1);
    CHECK_FALSE(store.catalogue().cache("k2")->layer);
    CHECK(store.catalogue().cache_rows().size() == 2);
    store.catalogue().write([&](Catalogue::Write& write) { write.remove_cache("k1"); });
    CHECK_FALSE(store.catalogue().cache("k1"));
}

TEST_CASE("a store of another format, owner or kind is refused with a reason", "[layers][store]") {
    TempStore temp;
    { Store store = temp.open(); }
    const std::filesystem::path format = temp.root() / "format.json";
    const auto refusal = [&] {
        try {
            temp.open();
        } catch (const Error& e) {
            CHECK_FALSE(e.hint().empty());
            return std::string(e.what());
        }
        return std::string("opened");
    };
    SECTION("a feature that we do not know") {
        write_file_durably(format, R"({"version":1,"incompatible":["chunks"],"compatible":[]})");
        CHECK_THAT(refusal(), Catch::Contains("uses the feature 'chunks', which this program does not know"));
    }
    SECTION("one that we may ignore") {
        write_file_durably(format, R"({"version":1,"incompatible":[],"compatible":["hints"]})");
        CHECK(refusal() == "opened");
    }
    SECTION("a newer version") {
        write_file_durably(format, R"({"version":2,"incompatible":[],"compatible":[]})");
        CHECK_THAT(refusal(), Catch::Contains("has format version 2; this program knows version 1"));
    }
    SECTION("a newer catalogue") {
        Database(temp.root() / "store.sqlite", false).script("PRAGMA user_version = 9");
        CHECK_THAT(refusal(), Catch::Contains("has version 9; this program knows version 1"));
    }
    SECTION("a damaged catalogue") {
        write_file_durably(temp.root() / "store.sqlite",
                           "this is no database, however long one looks at it, and it is long enough for a "
                           "header of one hundred bytes");
        CHECK_THAT(refusal(), Catch::Contains("file is not a database"));
    }
    SECTION("somebody's directory") {
        std::filesystem::remove(format);
        write_file_durably(temp.root() / "thesis.txt", "x");
        CHECK_THAT(refusal(),
                   Catch::Contains("is no surcoat store: there is no format.json, but 'thesis.txt'"));
    }
    SECTION("somebody else's store") {
        if (::geteuid() != 0) return;
        REQUIRE(::chown(temp.root().c_str(), 65534, 65534) == 0);
        CHECK_THAT(refusal(), Catch::Contains("belongs to nobody (uid 65534); you are root (uid 0)"));
    }
}

TEST_CASE("many processes that open a new store at once all find it whole", "[layers][store]") {
    TempStore temp;
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
        children.push_back(start_child([&] {
            Store store = temp.open();
            commit_files(store, {{"f", "of " + std::to_string(::getpid())}});
        }));
    }
    for (const pid_t child : children) CHECK(wait_for(child).ok());
    Store store = temp.open();
    CHECK(store.catalogue().layers().size() == 8);
    CHECK(fsck_all(store).empty());
}
