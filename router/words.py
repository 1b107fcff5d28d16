"""Cue words that tell what kind of task a question is.

A cue is written once, in simplified characters; its traditional spelling is made from the two lists below.
"""

from collections.abc import Mapping

# Kind of task: its cue words in Chinese and in English, lower case, separated by commas.
CUES: Mapping[str, str] = {
    "proof": "求证,推导,反证法,prove,proof,derive,derivation,show that,theorem",
    "reasoning": (
        "为什么,为何,原因,理由,推理,推断,推出,逐步,一步一步,规律,说真话,说谎,谁说的,逻辑,"
        "why,reasons,reasoning,reason about,infer,deduce,justify,step by step,tells the truth,is lying,lying,"
        "logic,logical,logically,follow that,puzzle,pattern,rule behind"
    ),
    "calculation": (
        "计算,算出,求解,方程,概率,利率,利息,平均,百分之,千分之,等额,应付,应交,合计,总共,一共,共有,还要几,还剩,"
        "calculate,compute,solve,equation,probability,interest,average,percent,instalments,installments,in total,"
        "in all,altogether,per cent,polynomial,integral,derivative,sum of,find the,work out,how many more"
    ),
    "quantity": (
        "每吨,每月,每天,每人,每小时,小时,分钟,降价,涨价,倍,几分之,分之一,其余,剩下,"
        "each,every,per,half,twice,thrice,times as,remaining,quarter,a day,a week,a month,a year,hours,minutes,"
        "dozen,more than,less than,two,three,four,five,six,seven,eight,ten"
    ),
    "comparison": (
        "比较,对比,区别,差别,差异,优缺点,利弊,异同,权衡,相比,"
        "compare,compares,comparing,comparison,contrast,difference between,differences between,pros and cons,"
        "trade-off,trade-offs,advantages,disadvantages,versus"
    ),
    "analysis": (
        "分析,评估,论述,评价,影响,探讨,诊断,建议,对策,启示,"
        "analyse,analyze,analysing,analyzing,analysis,evaluate,assess,critique,discuss,impact,implications,"
        "affects,recommend,recommendations,explain how,explain the"
    ),
    "planning": (
        "规划,方案,设计,安排一,合理安排,策略,路线图,预算,架构,优化,应急预案,"
        "plan,planning,design,strategy,strategies,roadmap,schedule,budget,architecture,optimise,optimize,"
        "itinerary,outline"
    ),
    "drafting": (
        "起草,撰写,写一篇,写一份,写一封,写一段,拟定,拟一份,发言稿,演讲稿,调研报告,工作报告,公文,草拟,"
        "draft,essay,write a,write an,speech,blog post,compose,report,story,poem,proposal,memo"
    ),
    "constraint": (
        "不少于,不超过,不得超过,字以内,元以内,包含,包括,同时具备,同时满足,必须,至少,最多,最迟,"
        "at least,at most,no more than,must,within,exactly,latest,never more,including,without using,fewer than"
    ),
    "code": (
        "代码,函数,算法,算法复杂度,编程,程序,程式,程式码,正则,调试,报错,数据库,索引,脚本,"
        "python,java,javascript,sql,c++,code,function,algorithm,program,debug,regex,script,bug,exception,refactor,"
        "implement,html,css,api,select,def,class,printed,print,compile,database,index"
    ),
    "law": (
        "判决,怎样判,如何判,会怎么判,量刑,刑期,有效吗,是否有效,无效,违约,赔偿,承担责任,谁的责任,被告,原告,"
        "合同约定,侵权,构成犯罪,构成什么罪,追究,要回,起诉,诉讼,"
        "liable,liability,contract,court,plaintiff,defendant,convicted,sued,sue,damages,valid,void,negligence,"
        "statute,breach"
    ),
    "rule": (
        "规定,根据,按照,依据,符合,能否,届满,"
        "according to,rule,eligible,qualify,qualifies,entitled,conditions,permitted,the law"
    ),
    "condition": "如果,假设,假如,倘若,已知,只有一,其中,if,suppose,assume,assuming,given that,imagine,exactly one",
    "order": (
        "前面,后面,第三位,排在,相邻,次日,起算,ahead of,behind,third,next to,left of,right of,counted from,day after"
    ),
    "look_up": (
        "首都,几点,电话,地址,在哪,哪里,是谁,谁发明,谁写,几楼,号码,哪一年,哪座,哪颗,哪一颗,什么时候,星期几,几月,"
        "多少位,开门,上班,官网,"
        "where is,where are,where can,where do,where was,when is,when was,when did,when does,when do,when will,"
        "who is,who are,who was,who wrote,who invented,who discovered,who painted,who won,what time,phone,"
        "telephone,address,capital,opening hours,which number,which floor,what day,which day,which month,"
        "which planet,website,opening"
    ),
    "amount": "多少,几个,几只,几人,几天,几元,各几,几次,how many,how much,how long,how far,how old,how often",
    "open_question": (
        "怎样,怎么,如何,凭什么,哪些影响,后果,利害,"
        "how to,how do,how can,how should,how would,how will,how did,how does,what would happen,on what ground,"
        "in what way,what if"
    ),
    "statements": (
        "下列,哪些,哪几项,哪一项,哪项,说法,表述,正确,不正确,错误的,"
        "statement,statements,which of the following,is true,is false,not true,is correct,incorrect,except,"
        "scenario,scenarios"
    ),
    "given_text": (
        "公诉机关,检察院,指控,经审理,本院,查明,被告人,庭审,抽取,提取,以下文本,输入文本,以下事实,下列事实,证据段,"
        "从选项,原文,材料如下,"
        "extract,refers to the following,this passage,excerpt,this text"
    ),
    "definition": (
        "什么是,是什么,什么意思,全称,缩写,简称,含义,"
        "what is,what's,what are,what does,stand for,stands for,meaning of,define,definition of"
    ),
    "translation": (
        "翻译,怎么说,用英语,用英文,英文怎么,英语怎么,"
        "translate,how do you say,in french,in english,in chinese,in german,in spanish"
    ),
    "wording": "反义词,近义词,同义词,拼音,怎么读,opposite,synonym,antonym,spell,spelled,plural",
    "listing": "列出,举例,列举,哪些材料,什么材料,name,list,what documents",
    "yes_no": "吗,是不是,有没有,is there,are there,is it",
    "thanks": "谢谢,多谢,感谢,再见,thanks,thank you,goodbye",
}

# The characters used above that have another form in traditional writing, and that form, place by place.
_SIMPLIFIED = (
    "为证导么断逻辑规谁说谎计几还总应额对别异较优权响评论诊议启划设预构线图实写拟发讲报过内时满须数码编调"
    "试错据库脚决样无约赔偿责诉讼届余钟涨价个电话号楼点开门网称缩义译语词举吗谢颗后邻区检审选项从误确读经"
    "复杂见"
    "备于关违迟输讨简则吨会"
)
_TRADITIONAL = (
    "為證導麼斷邏輯規誰說謊計幾還總應額對別異較優權響評論診議啟劃設預構線圖實寫擬發講報過內時滿須數碼編調"
    "試錯據庫腳決樣無約賠償責訴訟屆餘鐘漲價個電話號樓點開門網稱縮義譯語詞舉嗎謝顆後鄰區檢審選項從誤確讀經"
    "複雜見"
    "備於關違遲輸討簡則噸會"
)
_TO_TRADITIONAL = str.maketrans(_SIMPLIFIED, _TRADITIONAL)


def _spellings(cue: str) -> set[str]:
    return {cue, cue.translate(_TO_TRADITIONAL)}


KIND_OF_CUE: Mapping[str, str] = {
    spelling: kind for kind, cues in CUES.items() for cue in cues.split(",") for spelling in _spellings(cue)
}
