from devices.sensors.spec import Discovery, Gap, Sensor
from suite.measuring.sensor_plan import sensor_plan
from suite.sessions.record import SensorFact


def test_the_plan_keeps_what_the_statistics_need():
    found = Discovery(
        sensors=(
            Sensor("rapl.psys", "energy_mj", "/a", 1e-3, 10.0, "RAPL", form="counter", counter_range=262.0, total=True),
            Sensor("rapl.core", "energy_mj", "/b", 1e-3, 10.0, "RAPL", form="counter", counter_range=65.0),
            Sensor("cpu", "temperature_mc", "/c", 1.0, 1.0, "thermal zone", limit=95_000.0),
            Sensor("rss", "memory_kib", "/d", 1.0, 10.0, "status", total=True),
        ),
        unavailable=(Gap("battery", "power_mw", "there is none"),),
    )
    plan = sensor_plan(found)
    assert plan.energy_sensors == ("rapl.psys",)
    assert plan.wrap_range_mj == {"rapl.psys": 262.0, "rapl.core": 65.0}
    assert plan.trip_mc == {"cpu": 95_000.0}
    assert plan.quantities["rss"] == "memory_kib"
    assert "battery" not in plan.quantities
    assert plan.facts[-1] == SensorFact("battery", "power_mw", unavailable="there is none")
    assert plan.facts[0] == SensorFact("rapl.psys", "energy_mj", method="RAPL")
