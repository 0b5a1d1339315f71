import torch

from vllm_local.kernels.cpu.rotation import RotationTable


def test_rows_hold_cosines_and_then_sines():
    table = RotationTable((1.0, 0.1), 2.0)
    angles = torch.arange(1024.0)[:, None] * torch.tensor([1.0, 0.1])
    wanted = 2 * torch.cat((angles.double().cos(), angles.double().sin()), dim=1)
    torch.testing.assert_close(table._rows.double(), wanted, rtol=1e-7, atol=1e-7)


def test_a_table_grows_without_changing_what_is_there():
    table = RotationTable((1.0, 0.1, 0.01), 1.0)
    before, address = table._rows, table.address
    table.reserve(1024)
    assert table._rows is before
    table.reserve(5000)
    assert len(table._rows) == 5000
    assert torch.equal(table._rows[:1024], before)
    assert table.address == address
    assert table._structure.rows == table._rows.data_ptr()
    whole = RotationTable((1.0, 0.1, 0.01), 1.0)
    whole.reserve(5000)
    assert torch.equal(whole._rows, table._rows)
