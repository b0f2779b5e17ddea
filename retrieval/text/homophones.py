"""Chinese characters that sound alike, whatever their tones.

In: a character. Out: others of the same syllable. Knows nothing of words or queries.

GB 2312-1980 orders the 3,755 characters in frequent use by their sound in pinyin. Those of a syllable are
neighbours in it, so the first of each of its 396 syllables is all that must be written down. A character of
several readings has one place. Traditional characters and rare ones have none.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache

# The first character of each syllable, from "a" to "zuo" ("lü" stands before "luan", "nü" before "nuan").
_FIRST = (
    "啊埃鞍肮凹芭白斑邦苞杯奔崩逼鞭标鳖彬兵玻捕擦猜餐苍操厕层插拆搀昌超车郴撑吃充抽初揣川疮吹春戳疵聪凑粗蹿摧村磋搭呆耽当刀德蹬堤颠碉跌丁丢东兜督端堆墩掇蛾恩而发藩坊菲芬丰佛否夫噶该干冈篙哥给根耕工钩"
    "辜刮乖棺光瑰辊锅哈骸酣夯壕呵嘿痕哼轰喉呼花槐欢荒灰荤豁击嘉歼僵蕉揭巾荆炯揪鞠捐撅均喀开刊康考坷肯坑空抠枯夸块宽匡亏坤括垃莱蓝琅捞勒雷棱厘俩联粮撩列琳玲溜龙楼芦驴峦掠抡萝妈埋瞒芒猫么玫门萌眯棉苗"
    "蔑民明谬摸谋拇拿氖南囊挠呢馁嫩能妮蔫娘鸟捏您柠牛脓奴女暖虐挪哦欧啪拍攀乓抛呸喷砰坯篇飘撇拼乒坡扑期掐牵枪橇切钦青琼秋趋圈缺裙然瓤饶惹壬扔日戎揉茹软蕊闰若撒腮三桑搔瑟森僧莎筛珊墒梢奢砷声师收蔬刷"
    "摔栓霜谁吮说斯松搜苏酸虽孙蓑塌胎坍汤掏特藤梯天挑贴厅通偷凸湍推吞拖挖歪豌汪威瘟嗡挝巫昔瞎掀相萧楔薪星兄休墟轩靴勋压焉殃邀椰一茵英哟拥幽迂鸳曰耘匝栽咱赃遭责贼怎增扎摘瞻樟招遮珍蒸芝中舟珠抓拽专桩"
    "椎谆捉兹鬃邹租钻嘴尊昨"
)
# Behind the code of the last of these characters.
_STOP = 0xD7FA


def homophones(character: str) -> str:
    """The other frequent characters of the same syllable; none for a character that is not among them.

    >>> homophones("启")[:6]
    '期欺栖戚妻七'
    >>> homophones("a")
    ''
    """
    code = _code(character)
    return _of_syllable(bisect_right(_starts(), code)).replace(character, "") if code else ""


def _code(character: str) -> int:
    """The place of a character in GB 2312; 0 for one that is not in frequent use."""
    try:
        code = int.from_bytes(character.encode("gb2312"))
    except UnicodeEncodeError:
        return 0
    return code if _starts()[0] <= code < _STOP else 0


@cache
def _starts() -> list[int]:
    return [int.from_bytes(first.encode("gb2312")) for first in _FIRST]


@cache
def _of_syllable(number: int) -> str:
    """The characters of a syllable. number: from 1."""
    codes = range(_starts()[number - 1], (*_starts(), _STOP)[number])
    # A row of the standard ends at FE, and the next begins at A1.
    return b"".join(code.to_bytes(2) for code in codes if 0xA1 <= code & 0xFF <= 0xFE).decode("gb2312")
