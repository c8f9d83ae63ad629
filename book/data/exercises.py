"""What the notebooks' exercises expect, and their hints: a table that needs functions, so Python and not TOML."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch


@dataclass(frozen=True)
class Exercise:
    """What is expected: a number, or a function that is compared with the reader's on every one of `cases`."""

    expected: int | float | Callable
    hint_zh: str
    hint_en: str
    cases: tuple[torch.Tensor, ...] = ()


def _cases(*values: list) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(value, dtype=torch.float64) for value in values)


def _precision(confusion: torch.Tensor) -> torch.Tensor:
    return confusion.diagonal() / confusion.sum(0)


def _training_days(case: torch.Tensor) -> torch.Tensor:
    parameters, tokens, chips, utilization = case
    return 6 * parameters * tokens / (chips * utilization * 989.5e12) / 86_400


def _sigmoid_slope(points: torch.Tensor) -> torch.Tensor:
    points = points.clone().requires_grad_()
    torch.sigmoid(points).sum().backward()
    return points.grad


def _break_even_batch(flop_and_bytes_per_s_and_n: torch.Tensor) -> torch.Tensor:
    flop_per_s, bytes_per_s, _ = flop_and_bytes_per_s_and_n
    return 4 * flop_per_s / (3 * bytes_per_s)


def _usd_for_an_hour_saved(rent_and_gpus_and_efficiency: torch.Tensor) -> torch.Tensor:
    usd_per_hour, gpus, efficiency = rent_and_gpus_and_efficiency
    return usd_per_hour * (1 / efficiency - 1) / (1 - 1 / (gpus * efficiency))


def _test_set_size(n_and_gain: torch.Tensor) -> float:
    n, gain = n_and_gain.tolist()
    return math.log(n) / (2 * gain**2)


def _split_by_group(groups: torch.Tensor) -> torch.Tensor:
    sizes = groups.bincount()
    taken_before = sizes.cumsum(0) - sizes
    return (5 * taken_before < len(groups))[groups]


def _slipping_batch(side: torch.Tensor) -> int:
    return 4_608 // math.gcd(4_608, 128 * (int(side) // 4) ** 2)


def _decoding_processes(case: torch.Tensor) -> int:
    picture_ms, batch_ms, pictures = case.tolist()
    return math.ceil(pictures * picture_ms / batch_ms)


def _seeds_needed(spread_and_half_width: torch.Tensor) -> int:
    s, h = spread_and_half_width.tolist()
    return math.ceil((1.96 * s / h) ** 2)


def _break_even_pictures(costs: torch.Tensor) -> float:
    training_seconds, views, seconds_per_view = costs.tolist()
    return training_seconds / ((views - 1) * seconds_per_view)


def _squared_softmax_gradient(scores: torch.Tensor) -> torch.Tensor:
    p = scores.softmax(0)
    error = p - torch.eye(len(p), dtype=p.dtype)[0]
    return (torch.diag(p) - torch.outer(p, p)) @ (2 * error)


def _clerk_band(case: torch.Tensor) -> torch.Tensor:
    missed, returned, clerk = case
    ends = torch.stack([clerk / missed, 1 - clerk / returned])
    return ends if ends[0] < ends[1] else torch.stack([returned / (missed + returned)] * 2)


def _contract_price(case: torch.Tensor) -> float:
    margin, fold_per_year, years = case.tolist()
    cost_of_a_year = (1 - fold_per_year**-years) / (years * math.log(fold_per_year))
    return cost_of_a_year / (1 - margin)


def _paid_share(case: torch.Tensor) -> float:
    v3_share, night_share, night_discount, margin = case.tolist()
    if_all_paid = ((1 - v3_share) * 562_100 + v3_share * 280_560) * (1 - night_share * night_discount)
    return 87_072 / (1 - margin) / if_all_paid


def _flat_margin(case: torch.Tensor) -> float:
    price, mean, sigma, meter = case
    z = (torch.log(mean * meter / price) - sigma**2 / 2) / sigma
    normal = torch.special.ndtr
    return (1 - mean * normal(z + sigma) / normal(z) / price).item()


def _history(case: torch.Tensor) -> torch.Tensor:
    start, question, answer, turns = case
    sent = turns * start + question * turns * (turns + 1) / 2 + answer * turns * (turns - 1) / 2
    return torch.stack([sent, 1 - turns * question / sent])


def _nucleus_size(case: torch.Tensor) -> int:
    p = case[1:].sort(descending=True).values
    return int((p.cumsum(0) - p < case[0]).sum())


def _mixed_loss(case: torch.Tensor) -> float:
    share, one, two = case.tolist()
    return -math.log(share * one + (1 - share) * two)


def _flawless(alpha_and_delta: torch.Tensor) -> int:
    alpha, delta = alpha_and_delta.tolist()
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def _specificity_needed(wish: torch.Tensor) -> float:
    ppv, sensitivity, prevalence = wish
    odds = (1 - ppv) / ppv * prevalence / (1 - prevalence)  # false alarms for each healthy person, over sensitivity
    return float((1 - sensitivity * odds).clamp(min=0))


def _effect_by_weights(strata: torch.Tensor) -> float:
    n_new, new, n_old, old = strata.T
    share_new = n_new / (n_new + n_old)  # everybody is weighted by one over the chance of the treatment they had
    for_new, for_old = n_new / share_new, n_old / (1 - share_new)
    return float((for_new * new).sum() / for_new.sum() - (for_old * old).sum() / for_old.sum())


def _answer_above(costs: torch.Tensor) -> float:
    loss, person, handover = costs.tolist()
    return min(1.0, max(0.0, 1 - (person + handover) / loss))


def _worst_rank(case: torch.Tensor) -> int:
    rivals, drawn, chance = int(case[0]), int(case[1]), float(case[2])
    rank = 1
    while rank <= rivals:  # as many as `rank` rivals stand before the next rank
        ways = sum(math.comb(rank, i) * math.comb(rivals - rank, drawn - i) for i in range(10))
        if ways / math.comb(rivals, drawn) < chance:
            break
        rank += 1
    return rank


def _boast(case: torch.Tensor) -> float:
    alpha, power = case.tolist()
    limit = NormalDist().inv_cdf(1 - alpha / 2)
    effect = limit + NormalDist().inv_cdf(power)
    z = torch.linspace(limit, limit + 12, 200_001, dtype=torch.float64)  # of the tests that win
    density = torch.exp(-((z - effect) ** 2) / 2)
    return float(torch.trapezoid(z * density, z) / torch.trapezoid(density, z) / effect)


def _break_even_default(terms: torch.Tensor) -> torch.Tensor:
    rate, lost, funding = terms
    if_good, if_bad = (1 + rate) - (1 + funding), (1 - lost) - (1 + funding)
    return (if_good / (if_good - if_bad)).clamp(min=0)


def _years_of_data(case: torch.Tensor) -> float:
    ratio, trials = case.tolist()
    euler, luck = 0.5772156649015329, 0.0
    if trials > 1:
        shares = {1 / trials: 1 - euler, 1 / (trials * math.e): euler}
        luck = sum(share * NormalDist().inv_cdf(1 - tail) for tail, share in shares.items())
    return ((NormalDist().inv_cdf(0.95) + luck) / ratio) ** 2


EXERCISES = {
    "01-token-table": Exercise(
        expected=50_257 * 768,
        hint_zh="每个词元一行，每行和模型一样宽。",
        hint_en="One row a token, each as wide as the model.",
    ),
    "01-training-days": Exercise(
        expected=_training_days,
        cases=(
            torch.tensor([70e9, 1.4e12, 1_024, 0.4], dtype=torch.float64),
            torch.tensor([8e9, 15e12, 16_384, 0.2], dtype=torch.float64),
        ),
        hint_zh="需要的运算是6ND；每块H100每秒做989.5万亿次稠密BF16运算，再乘上利用率。",
        hint_en="6ND FLOP are needed; an H100 does 989.5e12 dense BF16 FLOP a second, times the utilisation.",
    ),
    "02-test-set-size": Exercise(
        expected=_test_set_size,
        cases=(
            torch.tensor([50, 0.01], dtype=torch.float64),
            torch.tensor([8, 0.02], dtype=torch.float64),
            torch.tensor([1_000, 0.005], dtype=torch.float64),
        ),
        hint_zh="硬币标签的σ是1/√(4m)。让它乘√(2 ln n)等于g，两边平方，解出m。",
        hint_en="With coins for labels σ is 1/√(4m). Set it times √(2 ln n) equal to g, square, solve for m.",
    ),
    "02-split": Exercise(
        expected=_split_by_group,
        cases=(
            torch.tensor([0, 1, 1, 2, 3, 0, 4, 4, 5, 6]),
            torch.tensor([2, 0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 4]),
            torch.tensor([0, 1, 2, 3, 4]),
        ),
        hint_zh="先数每组有几行，再按组号累加：轮到这一组之前，测试集还不到五分之一，就把整组放进去。",
        hint_en="Count the rows of each group, then add up by group: it goes in whole while fewer than a fifth are in.",
    ),
    "03-slope": Exercise(
        expected=400 * math.exp(-60 / 40) * (1 - (60 - 40) / 40),
        hint_zh="价格走两条路：每件多赚一元，乘销量；销量少了，乘单件毛利。单件毛利现在是20元。",
        hint_en="Two routes: one yuan more a piece, times demand; fewer pieces, times the margin, now 20 yuan.",
    ),
    "03-sigmoid": Exercise(
        expected=_sigmoid_slope,
        cases=(torch.tensor([0.0, 1.0, -1.0]), torch.tensor([-4.0, 0.5, 6.0])),
        hint_zh="sigmoid的导数可以用它自己的值写出来：σ(1 − σ)。",
        hint_en="The slope of the sigmoid can be written with its own value: σ (1 - σ).",
    ),
    "03-backward-cost": Exercise(
        expected=(784 * 256 + 256 * 10) + 256 * 10,
        hint_zh="权重的梯度每层一次矩阵乘法，输入的梯度也每层一次，只有第一层的输入是数据，不用求。",
        hint_en="One product a layer for the weights, one for its inputs; but the first layer's inputs are data.",
    ),
    "04-multiply-adds": Exercise(
        expected=100 * (2 * 784 * 256 + 3 * 256 * 10),
        hint_zh="前向两次矩阵乘法；反向第二层两次（对权重、对隐藏层），第一层只有对权重的一次。",
        hint_en="Two products forward; backward two for the second layer, one for the first (its weights only).",
    ),
    "04-squared-softmax": Exercise(
        expected=_squared_softmax_gradient,
        cases=_cases([0.0, 0, 0], [2.0, 1, -1, 0.5], [-8.0, 8, 0]),
        hint_zh="误差2(p − y)乘上softmax的雅可比矩阵diag(p) − p pᵀ；它是对称的。",
        hint_en="Multiply the error 2(p − y) by the Jacobian of softmax, diag(p) − p pᵀ; it is symmetric.",
    ),
    "05a-slipping-batch": Exercise(
        expected=_slipping_batch,
        cases=tuple(torch.tensor(side) for side in (224, 192, 160, 84, 28)),
        hint_zh="两次池化后边长剩四分之一，每张128×(边长/4)²个数。4,608除掉它俩的最大公约数，剩下的就要由批量补上。",
        hint_en="A picture leaves 128 × (side/4)² numbers; the batch must supply what 4,608 does not share with that.",
    ),
    "05a-decoding-processes": Exercise(
        expected=_decoding_processes,
        cases=_cases([4, 6, 64], [3, 60, 64], [5, 400, 64], [2, 8, 32]),
        hint_zh="一批要解码的总毫秒数，除以显卡做完一批的毫秒数，向上取整。",
        hint_en="The milliseconds of decoding in a batch over those that the card takes for it, rounded up.",
    ),
    "05b-clerk-band": Exercise(
        expected=_clerk_band,
        cases=_cases([1, 5, 0.5], [2, 8, 0.25], [1, 3, 0.9]),
        hint_zh="三个预计代价：衬衫架q·m，外套架(1 − q)·r，店员c。两两相等的地方就是端点。",
        hint_en="Three expected costs: q·m, (1 − q)·r and c. The ends are where two of them are equal.",
    ),
    "05b-parameters": Exercise(
        expected=32 * 64 * 3 * 3,
        hint_zh="每个输出通道都有自己的一组窗口，每个输入通道一个；这一层没有偏置。",
        hint_en="Every output channel owns one window for each input channel; this layer has no bias.",
    ),
    "05b-precision": Exercise(
        expected=_precision,
        cases=(torch.tensor([[8, 2], [1, 9]]), torch.tensor([[5, 0, 5], [0, 4, 0], [3, 3, 3]])),
        hint_zh="精确率按模型的答案算：对角线上的数，除以它那一列的和。",
        hint_en="Precision goes by the answer: the diagonal entry over the sum of its column.",
    ),
    "05c-break-even-batch": Exercise(
        expected=_break_even_batch,
        cases=(
            torch.tensor([5e10, 1e9, 2], dtype=torch.float64),
            torch.tensor([4e14, 2e11, 8], dtype=torch.float64),
            torch.tensor([4e14, 5e10, 64], dtype=torch.float64),
        ),
        hint_zh="一个进程要6PB/F秒；N个进程要6PB/(NF)秒，另加每人发2(N-1)/N份、每份4P字节。两边相等，解出B。",
        hint_en="One takes 6PB/F seconds; N take 6PB/(NF) and send 2(N-1)/N copies of 4P bytes each. Solve for B.",
    ),
    "05c-hour-saved": Exercise(
        expected=_usd_for_an_hour_saved,
        cases=(
            torch.tensor([2.95, 8, 0.84], dtype=torch.float64),
            torch.tensor([2.0, 64, 0.5], dtype=torch.float64),
        ),
        hint_zh="n块卡等h/(ne)小时，付hr/e美元。多付的除以少等的，h就约掉了。",
        hint_en="n GPUs take h/(ne) hours and cost hr/e USD. Divide the extra by the hours saved: h cancels.",
    ),
    "05d-seeds": Exercise(
        expected=_seeds_needed,
        cases=_cases([0.5, 0.3], [0.4, 1.0], [1.2, 0.25]),
        hint_zh="从1.96·s/√n ≤ h解出n，再向上取整。",
        hint_en="Solve 1.96 s / √n ≤ h for n, then round up.",
    ),
    "05d-views": Exercise(
        expected=_break_even_pictures,
        cases=_cases([4.0, 5.0, 1e-4], [90.0, 2.0, 3e-3]),
        hint_zh="原来也要看一遍，每张只多花k − 1遍的钱。",
        hint_en="One view had to be paid anyway: each picture costs k − 1 views more.",
    ),
    "06f-contract-price": Exercise(
        expected=_contract_price,
        cases=_cases([0.6, 5, 3], [0.3, 2, 1], [0.845, 10, 3], [0.5, 9, 0.5]),
        hint_zh="t年后的成本是今天的m的−t次方。把它从0到T积分，除以T，是整份合同的平均成本；再除以1 − M。",
        hint_en="After t years the cost is m to the power −t. Its mean over the contract, from 0 to T, over 1 − M.",
    ),
    "06f-flat-price": Exercise(
        expected=_flat_margin,
        cases=_cases([125, 100, 1.2, 2], [30, 20, 0.5, 1.5], [500, 100, 1.2, 2]),
        hint_zh="成本高过P/k的人才来。他们的平均成本是m·Φ(z+σ)/Φ(z)，z = (μ − ln(P/k))/σ，μ = ln m − σ²/2。",
        hint_en="Those above P/k come. Their mean is m·Φ(z+σ)/Φ(z), z = (μ − ln(P/k))/σ, μ = ln m − σ²/2.",
    ),
    "06f-history": Exercise(
        expected=_history,
        cases=_cases([400, 12, 30, 4], [400, 12, 30, 8], [50, 100, 300, 1]),
        hint_zh="第k轮发出s、k句问、k−1句答。没见过的只有最后那句问。",
        hint_en="Turn k sends s, k questions and k − 1 answers. New in it is the last question only.",
    ),
    "06f-paid-share": Exercise(
        expected=_paid_share,
        cases=_cases([0.0, 0.0, 0.0, 0.0], [0.7, 0.2, 0.5, 0.0], [0.5, 0.3, 0.75, 0.5], [1.0, 0.2, 0.5, 0.3]),
        hint_zh="先算全都收钱时的收入：两张价目按比例混合，再乘上1 − n·d。成本要占收入的1 − M。",
        hint_en="First the revenue if all were paid: both price lists mixed, times 1 − n·d. Cost is 1 − M of revenue.",
    ),
    "06a-nucleus-size": Exercise(
        expected=_nucleus_size,
        cases=(
            torch.tensor([0.9, 0.5, 0.3, 0.15, 0.05]),
            torch.tensor([0.6, 0.125, 0.5, 0.25, 0.125]),
            torch.tensor([0.3, 0.2, 0.2, 0.2, 0.2, 0.2]),
        ),
        hint_zh="从大到小排好，一个一个累加；某个词元之前的和还不到p，它就留下。",
        hint_en="Sort from the largest and add up; a token stays while the sum before it is below p.",
    ),
    "06a-mixture": Exercise(
        expected=_mixed_loss,
        cases=(torch.tensor([0.5, 0.2, 0.1]), torch.tensor([0.25, 0.001, 0.5]), torch.tensor([1.0, 0.3, 0.9])),
        hint_zh="先按λ和1-λ把两个概率加权相加，再取对数；不是把两个对数相加。",
        hint_en="Add the two probabilities, weighted, and take the logarithm last.",
    ),
    "06b-flawless": Exercise(
        expected=_flawless,
        cases=_cases([0.05, 0.05], [0.05, 0.1], [0.01, 0.05], [0.2, 0.01]),
        hint_zh="若真的错α，m件一件不错的机会是(1 − α)的m次方。它要不大于δ。",
        hint_en="Were alpha wrong, m flawless cases have probability (1 − alpha)^m. It must not exceed delta.",
    ),
    "06b-answer-above": Exercise(
        expected=_answer_above,
        cases=_cases([20, 3.5, 0.6], [3, 3.5, 0.6], [200, 3.5, 0], [5, 1, 1]),
        hint_zh="让它答，预计花(1 − c)·L；给人，花h + t。两边相等处就是门槛。",
        hint_en="Answering is expected to cost (1 − c) L, a person h + t. The threshold is where they meet.",
    ),
    "06c-worst-rank": Exercise(
        expected=_worst_rank,
        cases=_cases([1600, 100, 0.5], [1600, 100, 0.95], [500, 50, 0.5], [40, 12, 0.9]),
        hint_zh="排第r，前面有r − 1部。抽m部，抽到的里面比它好的至多9部，它就在前十；这个数服从超几何分布。",
        hint_en="At rank r, r − 1 stand before it. Of the m drawn at most 9 may be among these: hypergeometric.",
    ),
    "06c-boast": Exercise(
        expected=_boast,
        cases=_cases([0.05, 0.8], [0.05, 0.14], [0.01, 0.5]),
        hint_zh="z的平均是δ = z_{α/2} + z_β；只留z > z_{α/2}的，平均是δ + φ(z_{α/2} − δ)/(1 − β)。再除以δ。",
        hint_en="z has mean δ = z_{α/2} + z_β. Of those above z_{α/2} the mean is δ + φ(z_{α/2} − δ)/(1 − β); over δ.",
    ),
    "06d-cut-off": Exercise(
        expected=_break_even_default,
        cases=_cases([0.12, 0.6, 0.04], [0.24, 0.9, 0.05], [0.03, 0.6, 0.04]),
        hint_zh="好人挣r − f，坏人赔L + f。(1 − p)(r − f) = p(L + f)，解出p；别低于0。",
        hint_en="A good loan earns r − f, a bad one costs L + f. Solve (1 − p)(r − f) = p(L + f); not below 0.",
    ),
    "06d-years": Exercise(
        expected=_years_of_data,
        cases=_cases([1.0, 1.0], [1.0, 200.0], [0.5, 20.0]),
        hint_zh="T年里误差是1/√T，起跑线是E[max]/√T。两者都乘√T：S·√T − E[max]要到Φ⁻¹(0.95)。",
        hint_en="In T years the error is 1/√T and luck is E[max]/√T. So S √T − E[max] must reach Φ⁻¹(0.95).",
    ),
    "06e-specificity": Exercise(
        expected=_specificity_needed,
        cases=_cases([0.5, 0.9, 0.005], [0.9, 0.8, 0.05], [0.3, 1.0, 0.37], [0.05, 0.9, 0.6]),
        hint_zh="一万人里先数真的报警，再算虚惊最多能有几个，除以没病的人数。答案为负就取0。",
        hint_en="Of 10,000 people count the true alarms, then how many false ones may join; divide by the healthy.",
    ),
    "06e-strata": Exercise(
        expected=_effect_by_weights,
        cases=_cases(
            [[20, 0.9, 180, 0.8], [180, 0.4, 20, 0.3]],
            [[50, 0.5, 50, 0.5], [10, 0.9, 90, 0.2], [70, 0.3, 30, 0.4]],
            [[5, 0.6, 95, 0.5]],
        ),
        hint_zh="先在每一层里相减，再照各层的总人数（新旧合计）加权平均；不是照新药的人数。",
        hint_en="Subtract within each stratum, then average by its size, both treatments together.",
    ),
}
